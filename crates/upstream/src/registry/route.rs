//! Which of a registry's origins gives a content's bytes: one after the other, in their order. A pure decision.

use crate::fetch::source::Next;

/// Why an origin was left, the least reason first: where nothing better is left, the fetch goes back to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// It is slow.
    Crawls,
    /// It is down, limits us, or breaks off.
    Trouble,
    /// It says no, or gives something else.
    Refuses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It must not be asked.
    Closed,
    /// It may be asked.
    Open,
    /// It may be asked after all others.
    Late,
    Left(Left),
}

/// The way of one content's fetch through the origins. Each is left at most once, so the fetch does not go to and fro.
#[derive(Debug)]
pub(super) struct Route {
    standings: Vec<Standing>,
    /// The origin that is asked now.
    present: usize,
    /// Whether all were left: then the present one is kept, whatever it does.
    is_last_resort: bool,
}

impl Route {
    /// A way that begins at the first of `count` origins, and may not leave it.
    pub(super) fn new(count: usize) -> Self {
        let mut standings = vec![Standing::Closed; count];
        standings[0] = Standing::Open;
        Self { standings, present: 0, is_last_resort: false }
    }

    /// Says which of the others may be asked, beginning with the second. What was left stays so.
    pub(super) fn allow(&mut self, others: &[bool]) {
        for (standing, allowed) in self.standings.iter_mut().skip(1).zip(others) {
            match standing {
                Standing::Left(_) | Standing::Late => {}
                standing => *standing = if *allowed { Standing::Open } else { Standing::Closed },
            }
        }
    }

    /// Lets one of the others be asked, whatever [`allow`](Self::allow) says of it.
    pub(super) fn open(&mut self, origin: usize) {
        self.standings[origin] = Standing::Open;
    }

    /// Begins at one of the others, which may be asked; the first is the next then.
    pub(super) fn prefer(&mut self, origin: usize) {
        if self.standings[origin] == Standing::Open {
            self.present = origin;
        }
    }

    /// Asks an origin that may be asked after all others.
    pub(super) fn avoid(&mut self, origin: usize) {
        if self.standings[origin] != Standing::Open {
            return;
        }
        self.standings[origin] = Standing::Late;
        if let Some(other) = self.next().filter(|_| self.present == origin) {
            self.present = other;
        }
    }

    /// The origin that is asked now.
    pub(super) const fn present(&self) -> usize {
        self.present
    }

    /// The origin that would be asked next and was not asked yet.
    pub(super) fn next(&self) -> Option<usize> {
        let stands = |wanted: Standing| {
            (0..self.standings.len()).find(|at| *at != self.present && self.standings[*at] == wanted)
        };
        stands(Standing::Open).or_else(|| stands(Standing::Late)).filter(|_| !self.is_last_resort)
    }

    /// Whether a connection to this origin is to be given up, because the origin was left for being slow.
    pub(super) fn is_given_up(&self, origin: usize) -> bool {
        origin != self.present && self.standings[origin] == Standing::Left(Left::Crawls)
    }

    /// Leaves an origin, unless another connection of the fetch has done so.
    pub(super) fn leave(&mut self, origin: usize, why: Left) -> Next {
        if origin != self.present {
            return Next::Fresh;
        }
        if self.is_last_resort {
            return Next::Same;
        }
        let next = self.next();
        self.standings[origin] = Standing::Left(why);
        if let Some(next) = next {
            self.present = next;
            return Next::Fresh;
        }
        self.is_last_resort = true;
        let left = (0..self.standings.len()).filter_map(|at| match self.standings[at] {
            Standing::Left(why) => Some((why, at)),
            _ => None,
        });
        let best = left.min().map_or(origin, |(_, at)| at);
        self.present = best;
        if best == origin { Next::Same } else { Next::Again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way through so many origins that may all be asked.
    fn route(count: usize) -> Route {
        let mut route = Route::new(count);
        route.allow(&vec![true; count - 1]);
        route
    }

    #[test]
    fn the_origins_are_asked_in_their_order() {
        let mut route = route(3);
        assert_eq!((route.present(), route.next()), (0, Some(1)));
        assert_eq!((route.leave(0, Left::Trouble), route.present()), (Next::Fresh, 1));
        assert_eq!((route.leave(1, Left::Refuses), route.present()), (Next::Fresh, 2));
        assert_eq!(route.next(), None);
    }

    #[test]
    fn an_origin_that_is_not_allowed_is_passed_over() {
        let mut route = Route::new(3);
        assert_eq!((route.leave(0, Left::Trouble), route.present()), (Next::Same, 0));
        let mut route = Route::new(3);
        route.allow(&[false, true]);
        assert_eq!((route.leave(0, Left::Trouble), route.present()), (Next::Fresh, 2));
    }

    #[test]
    fn an_origin_that_is_avoided_is_the_last_one() {
        let mut route = route(3);
        route.avoid(1);
        assert_eq!((route.leave(0, Left::Trouble), route.present()), (Next::Fresh, 2));
        assert_eq!((route.leave(2, Left::Trouble), route.present()), (Next::Fresh, 1));
        let mut route = Route::new(2);
        route.avoid(0);
        assert_eq!(route.present(), 0);
        route.allow(&[true]);
        assert_eq!((route.leave(0, Left::Refuses), route.present()), (Next::Fresh, 1));
        let mut route = super::tests::route(2);
        route.avoid(0);
        assert_eq!(route.present(), 1);
    }

    #[test]
    fn a_second_connection_that_fails_there_leaves_nothing_more() {
        let mut route = route(3);
        route.leave(0, Left::Trouble);
        assert_eq!((route.leave(0, Left::Trouble), route.present()), (Next::Fresh, 1));
    }

    #[test]
    fn when_all_others_failed_the_slow_one_goes_on() {
        let mut route = route(3);
        route.leave(0, Left::Crawls);
        route.leave(1, Left::Trouble);
        assert_eq!((route.leave(2, Left::Refuses), route.present()), (Next::Again, 0));
        assert_eq!((route.leave(0, Left::Crawls), route.next()), (Next::Same, None), "it is not left again");
    }

    #[test]
    fn one_that_breaks_off_is_better_than_one_that_says_no() {
        let mut route = route(2);
        route.leave(0, Left::Trouble);
        assert_eq!((route.leave(1, Left::Refuses), route.present()), (Next::Again, 0));
    }

    #[test]
    fn a_last_one_that_is_slow_is_kept() {
        let mut route = route(2);
        route.leave(0, Left::Trouble);
        assert_eq!((route.leave(1, Left::Crawls), route.present()), (Next::Same, 1));
    }

    #[test]
    fn only_connections_to_an_origin_that_crawls_are_given_up() {
        let mut route = route(3);
        route.leave(0, Left::Crawls);
        route.leave(1, Left::Trouble);
        assert_eq!([0, 1, 2].map(|origin| route.is_given_up(origin)), [true, false, false]);
    }
}
