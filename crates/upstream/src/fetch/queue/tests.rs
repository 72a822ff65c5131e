use futures_util::FutureExt as _;

use super::*;

#[test]
fn parts_are_few_and_none_is_small() {
    const MIB: u64 = 1 << 20;
    for left in [16 * MIB, 17 * MIB + 1, 100 * MIB - 1, 128 * MIB, 300 * MIB, 5 << 30, 1 << 40] {
        let length = part_length(left).expect("parts");
        let (whole, rest) = (left / length, left % length);
        assert!(whole + u64::from(rest > 0) <= MOST_PARTS, "{left}: {length}");
        // The last part is shorter by what the others are rounded up.
        assert!(rest == 0 || rest + MOST_PARTS > SMALLEST_PART, "{left}: {length} and {rest}");
    }
}

#[test]
fn what_is_too_short_for_two_parts_has_none() {
    assert_eq!(part_length(0), None);
    assert_eq!(part_length((16 << 20) - 1), None);
    assert_eq!(part_length(16 << 20), Some(8 << 20));
}

/// Parts of 10 bytes from byte 10 on; the first connection has those before.
fn queue(window: u64) -> Queue {
    Queue::new(Parts { size: 45, length: 10, window }, 0, 10, 10)
}

fn take(queue: &Queue) -> Option<Option<Range<u64>>> {
    Some(queue.take().now_or_never()?.map(|part| part.range))
}

#[test]
fn parts_follow_each_other_to_the_end() {
    let queue = queue(u64::MAX);
    for part in [10..20, 20..30, 30..40, 40..45] {
        assert_eq!(take(&queue), Some(Some(part)));
    }
    assert_eq!(take(&queue), Some(None));
}

#[test]
fn a_part_that_is_given_back_is_the_next() {
    let queue = queue(u64::MAX);
    take(&queue);
    take(&queue);
    queue.advance(1, 3);
    queue.give_back(1);
    assert_eq!(take(&queue), Some(Some(13..20)));
    assert_eq!(take(&queue), Some(Some(30..40)));
}

#[tokio::test]
async fn a_part_beyond_the_window_waits_for_the_oldest_one() {
    let queue = queue(20);
    assert_eq!(take(&queue), Some(Some(10..20)));
    assert_eq!(take(&queue), None, "20 bytes ahead of the first connection");
    queue.finish(FIRST);
    assert_eq!(take(&queue), Some(Some(20..30)));
    assert_eq!(take(&queue), None, "20 bytes ahead of the part at 10");
    queue.advance(1, 5);
    queue.give_back(1);
    assert_eq!(take(&queue), Some(Some(15..20)));
    assert_eq!(take(&queue), Some(Some(30..40)));
}

#[test]
fn all_that_is_missing_is_taken_in_order() {
    let queue = queue(u64::MAX);
    take(&queue);
    take(&queue);
    queue.advance(2, 5);
    queue.give_back(2);
    queue.give_back(1);
    assert_eq!(queue.take_all(), [10..20, 25..30, 30..45]);
    assert_eq!(take(&queue), Some(None));
}

#[tokio::test]
async fn who_waits_for_the_window_hears_of_its_move() {
    let queue = queue(10);
    let (part, ()) = tokio::join!(queue.take(), async { queue.finish(FIRST) });
    assert_eq!(part.map(|part| part.range), Some(10..20));
}

#[test]
fn the_first_connection_stops_where_a_part_begins_unless_it_is_past_that() {
    let queue = Queue::new(Parts { size: 45, length: 10, window: u64::MAX }, 0, 45, 10);
    assert!(queue.has_only_first());
    assert_eq!(queue.advance(FIRST, 8), (8, false));
    assert!(queue.stop_first_at(10));
    assert!(queue.stop_first_at(20), "it stops earlier already");
    assert_eq!(queue.advance(FIRST, 8), (2, true));
    assert!(!queue.stop_first_at(5) && !queue.has_only_first());
}

/// Two parts, which are taken, and the number of the second.
fn two_parts() -> Queue {
    let parts = Parts { size: 32 << 20, length: 16 << 20, window: u64::MAX };
    let queue = Queue::new(parts, 0, 16 << 20, 16 << 20);
    assert_eq!(take(&queue), Some(Some(16 << 20..32 << 20)));
    queue
}

/// What who has nothing left to do takes a little later.
fn share(queue: &Queue) -> Option<Range<u64>> {
    match queue.state().share(Instant::now() + SHARED_AFTER) {
        Next::Part(part) => Some(part.range),
        _ => None,
    }
}

#[tokio::test]
async fn who_has_nothing_left_to_do_takes_half_of_what_is_left_of_a_slow_part() {
    let queue = two_parts();
    queue.advance(FIRST, 15 << 20);
    queue.advance(1, 1 << 20);
    assert_eq!(take(&queue), None, "it is too early to tell");
    let half = (17 << 20) + (15 << 19);
    assert_eq!(share(&queue), Some(half..32 << 20));
    assert_eq!(queue.advance(1, 15 << 20), (15 << 19, true), "the slow one stops there");
}

#[test]
fn a_part_of_which_nothing_comes_is_taken_over_as_a_whole() {
    let queue = two_parts();
    queue.advance(FIRST, 16 << 20);
    queue.finish(FIRST);
    assert_eq!(share(&queue), Some(16 << 20..32 << 20));
    assert_eq!(queue.advance(1, 1), (0, true));
    assert_eq!(queue.advance(2, 1), (1, false));
}

#[test]
fn nobody_takes_what_will_be_here_soon() {
    let queue = two_parts();
    queue.advance(FIRST, 16 << 20);
    queue.advance(1, 13 << 20);
    assert_eq!(share(&queue), None);
    assert_eq!(take(&queue), Some(None), "less than is worth a request");
}

#[test]
fn one_more_connection_is_worth_it_while_the_rest_would_take_more_than_a_second() {
    const MIB: u64 = 1 << 20;
    let parts = Parts { size: 100 * MIB, length: 10 * MIB, window: u64::MAX };
    let queue = || {
        let queue = Queue::new(parts, 0, 100 * MIB, 10 * MIB);
        queue.join();
        queue
    };
    // So long after the first byte.
    let wanted = |queue: &Queue, took| {
        let mut state = queue.state();
        let now = state.since + took;
        state.wanted(now)
    };
    let second = Duration::from_secs(1);
    assert_eq!(wanted(&queue(), Duration::ZERO), Wanted::Now, "nothing came yet");
    let fast = queue().after(30 * MIB, second / 4);
    assert_eq!(wanted(&fast, second / 4), Wanted::Perhaps);
    assert_eq!(wanted(&fast, second), Wanted::Now, "nothing came since");
    fast.leave();
    assert_eq!(wanted(&fast, second / 4), Wanted::Now, "nobody else fetches it");
    let slow = queue();
    slow.advance(FIRST, 40 << 20);
    assert_eq!(wanted(&slow, second), Wanted::Now);
    slow.advance(FIRST, 20 << 20);
    assert_eq!(wanted(&slow, second), Wanted::Perhaps);
    slow.advance(FIRST, 38 << 20);
    assert_eq!(wanted(&slow, second), Wanted::Never, "nothing that is worth a request is left");
}

#[tokio::test]
async fn parts_are_alike_and_behind_the_first_connection_however_late_a_place_is_free() {
    const MIB: u64 = 1 << 20;
    let queue =
        Queue::new(Parts { size: 100 * MIB, length: 9 * MIB, window: u64::MAX }, 0, 100 * MIB, 9 * MIB);
    queue.advance(FIRST, 20 << 20);
    assert_eq!(take(&queue), Some(Some(28 * MIB..36 * MIB)));
    assert!(queue.stop_first_at(28 * MIB));
    queue.advance(FIRST, 5 << 20);
    assert_eq!(take(&queue), Some(Some(36 * MIB..44 * MIB)));
    let late =
        Queue::new(Parts { size: 100 * MIB, length: 9 * MIB, window: u64::MAX }, 0, 100 * MIB, 9 * MIB);
    late.advance(FIRST, 85 << 20);
    assert_eq!(take(&late), None, "what is left is too short for two");
}
