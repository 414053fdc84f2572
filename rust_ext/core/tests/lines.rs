//! Files of rows become requests: what each row says, where a request ends, and what hostile lines do.

use pyledger_core::json::columns::{Column, What};
use pyledger_core::json::layout::{LINE_BYTES_MAX, Layout, LineTooLong, Place, View};
use pyledger_core::json::lines::Lines;
use pyledger_core::nouns::{BATCH_ROWS_MAX, RECORD_BYTES, transfer_flags as flag};
use pyledger_core::{Request, binary, json, uuid};

const HEADER: [&str; 8] =
    ["id", "debit_account_id", "credit_account_id", "amount", "ledger", "code", "flags", "reference"];

fn columns(names: &[&str], what: What) -> Vec<Column> {
    names.iter().map(|name| Column::of((*name).to_owned(), what).expect("there is such a column")).collect()
}

fn table() -> Layout {
    Layout { columns: Some(columns(&HEADER, What::Transfers)), ..objects() }
}

fn objects() -> Layout {
    Layout {
        what: What::Transfers,
        columns: None,
        imported: false,
        ids_from: Vec::new(),
        rows_counted: false,
        rows_max: BATCH_ROWS_MAX,
    }
}

fn start() -> Place {
    Place { number: 1, torn: false }
}

fn read(layout: &Layout, text: &[u8]) -> Lines {
    Lines::read(layout, text, View::End, start()).expect("no line is too long")
}

/// All of a text, request by request, as somebody reads who has `bytes` of it at once.
fn in_pieces(layout: &Layout, text: &[u8], bytes: usize) -> Vec<Lines> {
    let (mut found, mut at, mut next, mut wanted) = (Vec::new(), 0, start(), bytes);
    loop {
        let end = (at + wanted).min(text.len());
        let view = match end == text.len() {
            true => View::End,
            false if wanted > bytes => View::Most,
            false => View::Part,
        };
        let lines = Lines::read(layout, &text[at..end], view, next).expect("no line is too long");
        if lines.bytes == 0 && view == View::End {
            return found;
        }
        wanted = if lines.bytes == 0 { 4 * bytes } else { bytes };
        (at, next) = (at + lines.bytes, lines.next);
        found.push(lines);
    }
}

fn leg(place: u128, flags: &str) -> String {
    let id = uuid::string((1 << 100) + place);
    format!("{id},{},{},{},7,1,{flags},\n", uuid::string(1), uuid::string(2), place + 1)
}

fn decoded(lines: &Lines) -> Request {
    let body = lines.body();
    if lines.is_binary() { binary::transfers(&body, 1) } else { json::transfers(&body, 1) }
        .expect("a request")
}

fn sent(lines: &Lines) -> Vec<u128> {
    let place = |id: Option<u128>| id.expect("a row") - (1 << 100);
    (0..lines.rows()).map(|row| place(lines.id(row))).collect()
}

fn told(lines: &Lines) -> Vec<(u64, &'static str)> {
    lines.wrong.iter().map(|wrong| (wrong.number, wrong.code)).collect()
}

#[test]
fn a_table_and_objects_say_the_same() {
    let id = uuid::string(9);
    let cells = format!(
        "{id},{},{},\"5\",7,1,pending closing_debit,\"say \"\"yes\"\", é\"\r\n",
        uuid::string(1),
        uuid::string(2)
    );
    let object = format!(
        r#" {{"id":"{id}","debit_account_id":"{}","credit_account_id":"{}","amount":5,"ledger":7,"code":1,
        "flags":["closing_debit","pending"],"reference":"say \"yes\", \u00e9","status":"accepted","seq":null}} "#,
        uuid::string(1),
        uuid::string(2)
    );
    let (table, objects) =
        (read(&table(), cells.as_bytes()), read(&objects(), object.replace('\n', " ").as_bytes()));
    assert_eq!((told(&table), told(&objects)), (vec![], vec![]));
    assert_eq!(decoded(&table), decoded(&objects));
    let (request, flags) = (decoded(&table), flag::PENDING | flag::CLOSING_DEBIT);
    assert_eq!((request.commands[0].flags, request.commands[0].amount), (flags, 5));
    assert_eq!(request.text, "say \"yes\", é".as_bytes());
    assert!(!table.is_binary());
}

#[test]
fn rows_without_texts_are_records_and_accounts_are_json() {
    let lines = read(&table(), (leg(0, "") + &leg(1, "")).as_bytes());
    assert!(lines.is_binary());
    assert_eq!(
        (lines.body().len(), lines.numbers.clone(), lines.covers()),
        (2 * RECORD_BYTES, vec![1, 2], 2)
    );
    let names = ["id", "ledger", "code", "flags", "allowance", "metadata", "recorded_ns"];
    let (what, columns) = (What::Accounts, Some(columns(&names, What::Accounts)));
    let layout = Layout { what, columns, imported: true, ids_from: b"old books".to_vec(), ..objects() };
    let lines = read(&layout, b",7,1,,25,\"{\"\"b\"\":1,\"\"a\"\":2}\",1700000000000000000\n,7,1,,,,\n");
    let request = json::accounts(&lines.body(), 1).expect("accounts");
    let account = request.commands[0];
    assert_eq!((account.amount, account.effective_ns), (25, 1_700_000_000_000_000_000));
    assert_eq!(request.text, b"{\"a\":2,\"b\":1}");
    assert_eq!(lines.id(1), Some(request.commands[1].id));
    assert_ne!(request.commands[1].id, account.id);
    assert!(lines.depends());
}

#[test]
fn what_is_wrong_is_told_by_line_and_nothing_else_is_lost() {
    let good = leg(1, "");
    let with = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let wrong = [
        (b"x,y\n".to_vec(), "wrong_fields"),
        ([b",".repeat(LINE_BYTES_MAX - 2), b"\n".to_vec()].concat(), "wrong_fields"),
        (with(",2,", ",two,"), "invalid_amount"),
        (with(",7,", ",seven,"), "wrong_type"),
        (with(",7,", ",99999999999999999999,"), "number_out_of_range"),
        (with(",1,,", ",1,no_such,"), "invalid_flags"),
        (with(",1,,", ",1,pending pending,"), "invalid_flags"),
        (with(",\n", ",a\0b\n"), "invalid_reference"),
        (with(",\n", ",\"never closed\n"), "invalid_csv"),
        (with(",\n", ",\"closed\" twice\n"), "invalid_csv"),
        (with(",\n", ",a\rb\n"), "invalid_csv"),
        ([&good.as_bytes()[..good.len() - 1], b"\xff\n"].concat(), "invalid_utf8"),
    ];
    let mut text = Vec::new();
    for (place, (line, _)) in wrong.iter().enumerate() {
        text.extend_from_slice(leg(place as u128, "").as_bytes());
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b"\n\n");
    text.extend_from_slice(leg(99, "").trim_end().as_bytes());
    let lines = read(&table(), &text);
    let expected: Vec<_> =
        wrong.iter().enumerate().map(|(at, (_, code))| (2 * at as u64 + 2, *code)).collect();
    assert_eq!(told(&lines), expected);
    assert_eq!(sent(&lines), (0..wrong.len() as u128).chain([99]).collect::<Vec<_>>());
    assert_eq!((lines.bytes, lines.covers()), (text.len(), 2 * wrong.len() + 1));
    assert_eq!(lines.numbers.last(), Some(&(2 * wrong.len() as u64 + 3)));
}

#[test]
fn objects_that_are_wrong() {
    let id = uuid::string(9);
    for (line, code) in [
        (format!(r#"{{"id":"{id}","amount":"5",}}"#), "invalid_json"),
        (format!(r#"{{"id":"{id}","amount":"5","reference":"\ud800"}}"#), "invalid_json"),
        (format!(r#"{{"id":"{id}","amount":"5","id":"{id}"}}"#), "duplicate_field"),
        (format!(r#"{{"id":"{id}","amount":"5","more":1}}"#), "unknown_field"),
        (format!(r#"{{"id":"{id}","amount":"5","seq":{{}}}}"#), "wrong_type"),
        (format!(r#"{{"id":"{id}"}}"#), "missing_field"),
        (format!(r#"{{"id":"{id}","amount":"5","metadata":{}"#, "[".repeat(60_000)), "wrong_type"),
        (
            format!(r#"{{"id":"{id}","amount":"5","metadata":{{"a":{}"#, "[".repeat(60_000)),
            "invalid_metadata",
        ),
        ("[".repeat(60_000), "invalid_json"),
        ("null".to_owned(), "invalid_json"),
        ("\u{0}".to_owned(), "invalid_json"),
    ] {
        assert_eq!(
            told(&read(&objects(), line.as_bytes())),
            vec![(1, code)],
            "{}",
            &line[..line.len().min(90)]
        );
    }
}

#[test]
fn a_text_over_lines_is_one_row_and_a_quote_without_end_takes_none_along() {
    let row = |text: &str| leg(1, "").replace(",\n", &format!(",{text}\n"));
    let lines = read(&table(), (row("\"a\nb\"\r") + &leg(2, "")).as_bytes());
    assert_eq!((sent(&lines), lines.numbers.clone(), lines.next.number), (vec![1, 2], vec![1, 3], 4));
    let counted = Layout { rows_counted: true, ..table() };
    assert_eq!(read(&counted, (row("\"a\nb\"") + &leg(2, "")).as_bytes()).numbers, [1, 2]);
    for text in [row("\"open"), row("\"open") + &"\n".repeat(64) + &row("\"") + &"\n".repeat(LINE_BYTES_MAX)]
    {
        let lines = read(&table(), (text + &leg(2, "")).as_bytes());
        assert_eq!((told(&lines)[0], sent(&lines).last()), ((1, "invalid_csv"), Some(&2)));
    }
}

#[test]
fn a_line_without_end_is_no_line() {
    let long = vec![b'x'; LINE_BYTES_MAX + 1];
    let text = [leg(1, "").as_bytes(), &long].concat();
    for view in [View::Part, View::End] {
        assert_eq!(Lines::read(&table(), &text, view, start()).err(), Some(LineTooLong { number: 2 }));
    }
    let lines = Lines::read(&table(), &long[1..], View::Part, start()).expect("not yet");
    assert_eq!((lines.bytes, lines.covers()), (0, 0));
}

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
            1 => leg(place.into(), "").replace(",\n", ",\"a\n\"\"b\"\n"),
            2 => leg(place.into(), "").replace(",\n", ",\"open\n"),
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
