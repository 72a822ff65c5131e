//! What a layer removes.

use super::super::containerd::{Snapshotter, Version};
use super::super::entry::{Entry, device, directory, file, symlink};
use super::super::pair::Played::{Refused, Same};
use super::{play, play_by};

#[test]
fn whiteouts_are_those_of_containerd() {
    let cases = || {
        let wh = |name: &str| file(name, "");
        vec![
            (
                "a directory, with later entries",
                Same,
                vec![
                    vec![file("d/x", "1"), directory("e"), file("e/x", "1")],
                    vec![wh(".wh.d"), directory("d"), file("d/new", "1"), wh(".wh.e"), file("e", "1")],
                ],
            ),
            (
                "opaque before and after entries",
                Same,
                vec![
                    vec![file("d/x", "2"), file("e/x/y", "2"), directory("f").mode(0o700), file("f/x", "2")],
                    vec![
                        wh("d/.wh..wh..opq"),
                        file("d/n", "2"),
                        directory("e"),
                        file("e/n/m", "2"),
                        wh("e/.wh..wh..opq"),
                        wh("f/.wh..wh..opq"),
                        wh("g/h/.wh..wh..opq"),
                    ],
                    vec![file("e/x/z", "2"), file("f/z", "2")],
                ],
            ),
            (
                "of nothing",
                Same,
                vec![
                    vec![file("a", "3")],
                    vec![wh(".wh.nothing"), wh("no/such/.wh.x"), wh(".wh.nothing-else")],
                ],
            ),
            (
                "of other types",
                Same,
                vec![
                    vec![file("a", "4"), file("b", "4"), file("c", "4")],
                    vec![
                        directory(".wh.a"),
                        symlink(".wh.b", "x"),
                        Entry { data: b"data".to_vec(), ..Entry::new(b'0', ".wh.c") },
                        Entry { data: b"data".to_vec(), ..Entry::new(b'7', ".wh.d") },
                        file("last", ""),
                    ],
                ],
            ),
            (
                "names that only look so",
                Same,
                vec![vec![
                    file(".wh..wh.foo", "5"),
                    file("a/.wh.b/c", "5"),
                    file(".wh..wh..opq/x", "5"),
                    file(".wh", "5"),
                ]],
            ),
            (
                "a file in place of a directory, and the reverse",
                Same,
                vec![
                    vec![
                        file("d/x", "6"),
                        file("f", "6"),
                        symlink("l", "d"),
                        directory("e").mode(0o700).owner(5, 5),
                    ],
                    vec![
                        file("d", "6"),
                        directory("f"),
                        file("f/x", "6"),
                        directory("l"),
                        file("l/x", "6"),
                        file("e/x", "6"),
                    ],
                    vec![symlink("f", "e"), file("f/y", "6"), device(b'6', "e", 0, 0)],
                ],
            ),
            (
                "devices with the numbers of whiteouts",
                Same,
                vec![
                    vec![file("a", "7"), device(b'3', "b", 0, 0).mode(0o666).owner(3, 3)],
                    vec![device(b'3', "a", 0, 0), file("b", "7"), device(b'4', "c", 0, 0)],
                ],
            ),
            ("no name", Refused, vec![vec![file("a", "8")], vec![wh(".wh.")]]),
            ("the directory itself", Refused, vec![vec![file("a", "9")], vec![wh(".wh..")]]),
            ("the parent", Refused, vec![vec![file("a", "10")], vec![wh("a/.wh...")]]),
            ("opaque file", Refused, vec![vec![file("d", "11")], vec![file("d", ""), wh("d/.wh..wh..opq")]]),
        ]
    };
    play(cases);
    play_by(Version::Sid, Snapshotter::Native, cases());
    let upper = |after: &str, layer: Vec<Entry>| vec![vec![file("d/x", after)], layer];
    play(|| {
        let wh = || file(".wh.d", "");
        vec![
            ("after the directory itself", Refused, upper("12", vec![directory("d"), wh()])),
            ("twice", Refused, upper("13", vec![wh(), wh()])),
            ("with an implied directory next", Refused, upper("14", vec![wh(), file("d/new", "")])),
        ]
    });
}

#[test]
fn a_removed_directory_fails_at_the_end_as_in_containerd() {
    play(|| {
        vec![
            ("whiteout", Refused, vec![vec![directory("d"), file(".wh.d", "")]]),
            ("a file instead", Same, vec![vec![directory("d").modified(5), file("d", "x").modified(7)]]),
        ]
    });
}
