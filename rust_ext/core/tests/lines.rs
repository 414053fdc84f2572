//! Files of rows become requests: what each row says, and what hostile lines do.

mod files;

use files::{columns, decoded, leg, objects, read, read_from, sent, start, table, told};
use pyledger_core::json::columns::What;
use pyledger_core::json::layout::{LINE_BYTES_MAX, Layout, Place, Unreadable, View};
use pyledger_core::json::lines::Lines;
use pyledger_core::nouns::{RECORD_BYTES, transfer_flags as flag};
use pyledger_core::{json, uuid};

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
        (
            format!(r#"{{"id":"{id}","amount":"5","status":"declined","status":"accepted"}}"#),
            "duplicate_field",
        ),
        (format!(r#"{{"id":"{id}","amount":"5","recorded_ns":1,"recorded_ns":2}}"#), "duplicate_field"),
        (format!(r#"{{"id":"{id}","amount":"5","seq":1,"tenant":1,"seq":null}}"#), "duplicate_field"),
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
fn a_text_over_lines_is_one_row() {
    let row = |text: &str| leg(1, "").replace(",\n", &format!(",{text}\n"));
    let lines = read(&table(), (row("\"a\nb\"\r") + &leg(2, "")).as_bytes());
    assert_eq!((sent(&lines), lines.numbers.clone(), lines.next.number), (vec![1, 2], vec![1, 3], 4));
    let counted = Layout { rows_counted: true, ..table() };
    assert_eq!(read(&counted, (row("\"a\nb\"") + &leg(2, "")).as_bytes()).numbers, [1, 2]);
    // However long it is: what stands in quotes is never a row.
    let forged = "\n".repeat(100) + &leg(7, "") + &"x".repeat(2 * LINE_BYTES_MAX) + "\n" + &leg(8, "");
    let lines = read(&table(), (row(&format!("\"{forged}\"")) + &leg(2, "")).as_bytes());
    assert_eq!(
        (told(&lines), sent(&lines), lines.numbers),
        (vec![(1, "invalid_reference")], vec![2], vec![105])
    );
}

#[test]
fn a_quote_that_is_not_closed_ends_the_reading() {
    let open = leg(1, "").replace(",\n", ",\"open\n");
    for chain in ["", "linked"] {
        let text = leg(0, chain) + &open + &leg(2, "").repeat(1_000);
        let first = read_from(&table(), text.as_bytes(), start());
        let (read, rest) = if chain.is_empty() { (1, &text[leg(0, "").len()..]) } else { (0, &text[..]) };
        if read == 1 {
            assert_eq!(first.expect("a row").covers(), 1);
        }
        let place = Place { number: 1 + read, torn: false };
        assert_eq!(read_from(&table(), rest.as_bytes(), place).err(), Some(Unreadable::QuoteNotClosed(2)));
        // More of the file might close it.
        let part = Lines::read(&table(), rest.as_bytes(), View::Part, place).expect("not yet");
        assert_eq!((part.bytes, part.covers()), (0, 0));
    }
}

#[test]
fn a_line_without_end_is_no_line() {
    let long = vec![b'x'; LINE_BYTES_MAX + 1];
    let text = [leg(1, "").as_bytes(), &long].concat();
    for view in [View::Part, View::End] {
        assert_eq!(Lines::read(&table(), &text, view, start()).err(), Some(Unreadable::LineTooLong(2)));
    }
    let lines = Lines::read(&table(), &long[1..], View::Part, start()).expect("not yet");
    assert_eq!((lines.bytes, lines.covers()), (0, 0));
}
