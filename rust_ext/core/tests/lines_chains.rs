//! Where requests end: chains whole or not at all, and the same rows however much of a file there is at once.

mod files;

use files::{in_pieces, leg, objects, read, sent, table, told};
use pyledger_core::json::layout::{LINE_BYTES_MAX, Layout};
use pyledger_core::json::lines::Lines;
use pyledger_core::nouns::BATCH_ROWS_MAX;
use pyledger_core::uuid;

#[test]
fn a_chain_is_whole_or_nothing_of_it() {
    let chain = |second: &str| leg(0, "") + &leg(1, "linked") + second + &leg(3, "") + &leg(4, "");
    assert_eq!(sent(&read(&table(), chain(&leg(2, "linked")).as_bytes())), [0, 1, 2, 3, 4]);
    for second in [
        leg(2, "linked linked"),
        leg(2, "linked").replace(",3,", ",x,"),
        leg(2, "linked").replace('\n', ",\n"),
    ] {
        let lines = read(&table(), chain(&second).as_bytes());
        assert_eq!(sent(&lines), [0, 4], "{second}");
        assert_eq!(
            (told(&lines)[0], told(&lines)[2]),
            ((2, "linked_chain_refused"), (4, "linked_chain_refused"))
        );
    }
    // An escape may be a letter of the word; a declined leg is not left out from between the others.
    let object = |place: u128, more: &str| {
        format!("{{\"id\":\"{}\",\"amount\":\"1\"{more}}}\n", uuid::string((1 << 100) + place))
    };
    let text = object(0, r#","more":"\u006cinked""#) + &object(1, "") + &object(2, "");
    assert_eq!(sent(&read(&objects(), text.as_bytes())), [2]);
    let text = object(0, r#","flags":["linked"],"status":"declined""#) + &object(1, "") + &object(2, "");
    assert_eq!(
        (sent(&read(&objects(), text.as_bytes())), read(&objects(), text.as_bytes()).skipped),
        (vec![2], 1)
    );
}

#[test]
fn a_chain_that_no_request_can_hold_is_refused_to_its_end() {
    for (before, chain) in
        [(0, BATCH_ROWS_MAX + 1), (7, BATCH_ROWS_MAX + 1), (8_189, 20_000), (3, BATCH_ROWS_MAX)]
    {
        let all = before + chain + 2;
        let linked = |place: usize| if (before..before + chain - 1).contains(&place) { "linked" } else { "" };
        let text: String = (0..all).map(|place| leg(place as u128, linked(place))).collect();
        let pieces = in_pieces(&table(), text.as_bytes(), 1 << 20);
        let sent: Vec<_> = pieces.iter().flat_map(sent).collect();
        let held = chain <= BATCH_ROWS_MAX;
        let expected =
            (0..all as u128).filter(|place| held || !(before..before + chain).contains(&(*place as usize)));
        assert_eq!(sent, expected.collect::<Vec<_>>());
        let wrong: Vec<_> = pieces.iter().flat_map(|piece| &piece.wrong).collect();
        assert_eq!(wrong.len(), if held { 0 } else { chain });
        assert!(wrong.iter().all(|wrong| wrong.code == "linked_chain_too_long"));
    }
}

#[test]
fn a_request_has_no_more_rows_than_a_server_takes() {
    let layout = Layout { rows_max: 100, ..table() };
    let linked = |place: u128| if place % 70 < 69 { "linked" } else { "" };
    let text: String = (0..1_000).map(|place| leg(place, linked(place))).collect();
    let pieces = in_pieces(&layout, text.as_bytes(), 1 << 20);
    assert!(pieces.iter().all(|piece| piece.rows() <= 100 && piece.rows() % 10 == 0));
    assert_eq!(pieces.iter().flat_map(sent).collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
    // Resolving a group counts as all the holds that it may have.
    let text: String = (0..5).map(|place| leg(place, "void_pending group")).collect();
    assert_eq!(
        in_pieces(&layout, text.as_bytes(), 1 << 20).iter().map(Lines::rows).collect::<Vec<_>>(),
        [1; 5]
    );
}

#[test]
fn what_is_read_does_not_depend_on_how_much_there_is_at_once() {
    let flags =
        |place: u32| ["", "linked", "", "pending", "linked linked", "group post_pending"][place as usize % 6];
    let text: String = (0..4_000_u32)
        .map(|place| match place.wrapping_mul(2_654_435_761) >> 28 {
            0 => "\n".to_owned(),
            1 => leg(place.into(), "").replace(",\n", &format!(",\"a{}\"\"b\"\n", "\n".repeat(70))),
            2 => leg(place.into(), "").replace(",\n", ",\"closed\" twice\n"),
            hash => leg(place.into(), flags(place + hash)),
        })
        .collect();
    let all = |bytes: usize| {
        let pieces = in_pieces(&table(), text.as_bytes(), bytes);
        let sent: Vec<_> =
            pieces.iter().flat_map(|piece| piece.numbers.iter().copied().zip(sent(piece))).collect();
        let wrong: Vec<_> = pieces.iter().flat_map(|piece| piece.wrong.clone()).collect();
        (sent, wrong)
    };
    let whole = all(text.len());
    assert!(!whole.0.is_empty() && !whole.1.is_empty());
    for bytes in [LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 4_999, 100_001] {
        assert_eq!(all(bytes), whole, "{bytes}");
    }
}
