//! Requests as bytes: every class of bad input has its code, and both forms of a transfer are one command.

use pyledger_core::fingerprint;
use pyledger_core::json::{self, Action};
use pyledger_core::malformed::{Code, Malformed};
use pyledger_core::nouns::{AMOUNT_ALL, BATCH_ROWS_MAX, Command, CommandKind, transfer_flags as flag};
use pyledger_core::{Request, binary, uuid};

const ID: &str = "0192f0c1-2b3c-7def-8abc-0123456789ab";
const TENANT: u32 = 7;

fn transfer(fields: &str) -> Result<Request, Malformed> {
    json::transfer(format!(r#"{{"id":"{ID}",{fields}}}"#).as_bytes(), TENANT, None)
}

fn only(request: Request) -> (Command, String) {
    assert_eq!(request.commands.len(), 1);
    (request.commands[0], String::from_utf8(request.text).expect("UTF-8"))
}

fn code(result: Result<Request, Malformed>, bytes: &str) -> Code {
    result.expect_err(bytes).code
}

#[test]
fn a_transfer_with_everything() {
    let body = format!(
        r#" {{ "id" : "{}", "debit_account_id":"00000000-0000-0000-0000-000000000001",
        "credit_account_id":"00000000-0000-0000-0000-000000000002","amount":"340282366920938463463374607431768211454",
        "ledger":840,"code":65535,"flags":["linked","pending"],"timeout_s":2147483647,
        "metadata":{{"b":1,"a":"\u00e9"}},"reference":"Rechnung \"7\"","pending_id":null,
        "effective_at":"2026-10-01T00:00:00.000000001Z"}} "#,
        ID.to_uppercase()
    );
    let (command, text) = only(json::transfer(body.as_bytes(), TENANT, None).expect("well-formed"));
    assert_eq!(command.kind, CommandKind::Transfer);
    assert_eq!(command.id, uuid::parse(ID.as_bytes()).expect("an id"));
    assert_eq!((command.tenant, command.debit, command.credit, command.target), (TENANT, 1, 2, 0));
    assert_eq!((command.amount, command.ledger, command.code), (AMOUNT_ALL - 1, 840, 65_535));
    assert_eq!((command.flags, command.timeout_s), (flag::LINKED | flag::PENDING, 2_147_483_647));
    assert_eq!(command.effective_ns, 1_790_812_800_000_000_001);
    assert_eq!(text, "Rechnung \"7\"{\"a\":\"é\",\"b\":1}");
    assert_eq!((command.text.start, command.text.reference_bytes), (0, 12));
    assert_eq!(usize::from(command.text.metadata_bytes), text.len() - 12);
}

#[test]
fn amounts_left_out_mean_all_only_where_that_means_something() {
    for (fields, expected) in [
        (
            r#""flags":["post_pending"],"pending_id":"00000000-0000-0000-0000-000000000001""#,
            flag::POST_PENDING,
        ),
        (r#""flags":["void_pending","group"]"#, flag::VOID_PENDING | flag::GROUP),
        (r#""reverses":"00000000-0000-0000-0000-000000000001""#, flag::REVERSE),
        (r#""flags":["balancing_debit"],"amount":null"#, flag::BALANCING_DEBIT),
    ] {
        let (command, _) = only(transfer(fields).expect(fields));
        assert_eq!((command.amount, command.flags), (AMOUNT_ALL, expected), "{fields}");
    }
    assert_eq!(code(transfer(r#""ledger":1"#), "no amount"), Code::MissingField);
    assert_eq!(code(transfer(r#""flags":["pending"]"#), "no amount"), Code::MissingField);
}

#[test]
fn bad_fields_of_a_transfer() {
    for (fields, expected) in [
        // Fields that do not exist, stand twice or have another type.
        (r#""amount":"1","note":"x""#, Code::UnknownField),
        (r#""amount":"1","group":true"#, Code::UnknownField),
        (r#""amount":"1","allowance":"1""#, Code::UnknownField),
        (r#""amount":"1","Amount":"1""#, Code::UnknownField),
        (r#""amount":"1","amount":"1""#, Code::DuplicateField),
        (r#""amount":"1","\u0061mount":"2""#, Code::DuplicateField),
        (r#""amount":null,"amount":"1""#, Code::DuplicateField),
        (r#""amount":true"#, Code::WrongType),
        (r#""amount":["1"]"#, Code::WrongType),
        (r#""amount":"1","ledger":"1""#, Code::WrongType),
        (r#""amount":"1","ledger":1.0"#, Code::WrongType),
        (r#""amount":"1","ledger":1e0"#, Code::WrongType),
        (r#""amount":"1","code":false"#, Code::WrongType),
        (r#""amount":"1","flags":"linked""#, Code::WrongType),
        (r#""amount":"1","flags":[1]"#, Code::WrongType),
        (r#""amount":"1","reference":7"#, Code::WrongType),
        (r#""amount":"1","metadata":[]"#, Code::WrongType),
        (r#""amount":"1","metadata":"{}""#, Code::WrongType),
        (r#""amount":"1","effective_at":1790812800"#, Code::WrongType),
        (r#""amount":"1","debit_account_id":1"#, Code::WrongType),
        // Amounts.
        (r#""amount":-1"#, Code::InvalidAmount),
        (r#""amount":"-1""#, Code::InvalidAmount),
        (r#""amount":1.5"#, Code::InvalidAmount),
        (r#""amount":1.0"#, Code::InvalidAmount),
        (r#""amount":1e3"#, Code::InvalidAmount),
        (r#""amount":"1.5""#, Code::InvalidAmount),
        (r#""amount":"1e3""#, Code::InvalidAmount),
        (r#""amount":"""#, Code::InvalidAmount),
        (r#""amount":" 1""#, Code::InvalidAmount),
        (r#""amount":"+1""#, Code::InvalidAmount),
        (r#""amount":"01""#, Code::InvalidAmount),
        (r#""amount":"0x10""#, Code::InvalidAmount),
        (r#""amount":"1_000""#, Code::InvalidAmount),
        (r#""amount":"١""#, Code::InvalidAmount),
        (r#""amount":9007199254740992"#, Code::InvalidAmount),
        (r#""amount":340282366920938463463374607431768211456"#, Code::InvalidAmount),
        (r#""amount":"340282366920938463463374607431768211455""#, Code::InvalidAmount),
        (r#""amount":"340282366920938463463374607431768211456""#, Code::InvalidAmount),
        (r#""amount":"999999999999999999999999999999999999999999""#, Code::InvalidAmount),
        // Numbers outside their fields.
        (r#""amount":"1","ledger":-1"#, Code::NumberOutOfRange),
        (r#""amount":"1","ledger":2147483648"#, Code::NumberOutOfRange),
        (r#""amount":"1","ledger":99999999999999999999"#, Code::NumberOutOfRange),
        (r#""amount":"1","code":65536"#, Code::NumberOutOfRange),
        (r#""amount":"1","timeout_s":2147483648"#, Code::NumberOutOfRange),
        // Ids.
        (r#""amount":"1","debit_account_id":"1""#, Code::InvalidId),
        (r#""amount":"1","credit_account_id":"0192f0c12b3c7def8abc0123456789ab""#, Code::InvalidId),
        (r#""amount":"1","pending_id":"""#, Code::InvalidId),
        (r#""amount":"1","reverses":"x""#, Code::InvalidId),
        // Flags.
        (r#""amount":"1","flags":["reverse"]"#, Code::InvalidFlags),
        (r#""amount":"1","flags":["Linked"]"#, Code::InvalidFlags),
        (r#""amount":"1","flags":["closed"]"#, Code::InvalidFlags),
        (r#""amount":"1","flags":["linked","linked"]"#, Code::InvalidFlags),
        (
            r#""pending_id":"0192f0c1-2b3c-7def-8abc-0123456789ab","reverses":"0192f0c1-2b3c-7def-8abc-0123456789ab""#,
            Code::InvalidFlags,
        ),
        // Texts.
        (r#""amount":"1","reference":"""#, Code::InvalidReference),
        (r#""amount":"1","reference":"a\u0000b""#, Code::InvalidReference),
        (r#""amount":"1","metadata":{"a":9007199254740993}"#, Code::InvalidMetadata),
        (r#""amount":"1","metadata":{"a":"\u0000"}"#, Code::InvalidMetadata),
        (r#""amount":"1","metadata":{"a":1,"a":2}"#, Code::DuplicateField),
        (r#""amount":"1","effective_at":"2026-10-01""#, Code::InvalidTime),
        (r#""amount":"1","effective_at":"1970-01-01T00:00:00Z""#, Code::InvalidTime),
        (r#""amount":"1","effective_at":"2300-01-01T00:00:00Z""#, Code::InvalidTime),
        // Not JSON.
        (r#""amount":NaN"#, Code::InvalidJson),
        (r#""amount":Infinity"#, Code::InvalidJson),
        (r#""amount":-"#, Code::InvalidJson),
        (r#""amount":01"#, Code::InvalidJson),
        (r#""amount":1."#, Code::InvalidJson),
        (r#""amount":.5"#, Code::InvalidJson),
        (r#""amount":+1"#, Code::InvalidJson),
        (r#""amount":1e"#, Code::InvalidJson),
        (r#""amount":0x10"#, Code::InvalidJson),
        (r#""amount":'1'"#, Code::InvalidJson),
        (r#""amount":nul"#, Code::InvalidJson),
        (r#""amount":tru"#, Code::WrongType),
        (r#""amount":"1","metadata":{"a":tru}"#, Code::InvalidJson),
        (r#""amount":"1","metadata":{"a":1,}"#, Code::InvalidJson),
        (r#""amount":"1","metadata":{"a":[1,]}"#, Code::InvalidJson),
        (r#""amount":"1","metadata":{"a"}"#, Code::InvalidJson),
        (r#""amount":"1","metadata":{"a":1"b":2}"#, Code::InvalidJson),
        (r#""amount":"1","metadata":{a:1}"#, Code::InvalidJson),
        (r#""amount":"1","reference":"\ud800""#, Code::InvalidJson),
        (r#""amount":"1","reference":"\ud800\u0041""#, Code::InvalidJson),
        (r#""amount":"1","reference":"\udc00""#, Code::InvalidJson),
        (r#""amount":"1","reference":"\u12g4""#, Code::InvalidJson),
        (r#""amount":"1","reference":"\x41""#, Code::InvalidJson),
        ("\"amount\":\"1\",\"reference\":\"a\nb\"", Code::InvalidJson),
        (r#""amount":"1","#, Code::InvalidJson),
        (r#""amount":"1" "ledger":1"#, Code::InvalidJson),
        (r#""amount" "1""#, Code::InvalidJson),
        (r#","amount":"1""#, Code::InvalidJson),
        (r#""amount":"1"/* */"#, Code::InvalidJson),
    ] {
        assert_eq!(code(transfer(fields), fields), expected, "{fields}");
    }
    let long = format!(r#""amount":"1","reference":"{}""#, "x".repeat(129));
    assert_eq!(code(transfer(&long), "129 bytes"), Code::InvalidReference);
    let fits = format!(r#""amount":"1","reference":"{}""#, "é".repeat(64));
    assert!(transfer(&fits).is_ok());
}

#[test]
fn bad_bodies() {
    let good = format!(r#"{{"id":"{ID}","amount":"1"}}"#);
    for (body, expected) in [
        ("", Code::InvalidJson),
        (" ", Code::InvalidJson),
        ("null", Code::WrongType),
        ("[]", Code::WrongType),
        ("1", Code::WrongType),
        ("\"\"", Code::WrongType),
        ("{", Code::InvalidJson),
        ("{}", Code::IdOrKeyNeeded),
        ("\u{feff}{}", Code::InvalidJson),
        (&format!("{good} x"), Code::InvalidJson),
        (&format!("{good}{good}"), Code::InvalidJson),
        (&format!("{good}\0"), Code::InvalidJson),
    ] {
        assert_eq!(code(json::transfer(body.as_bytes(), TENANT, None), body), expected, "{body}");
    }
    for end in 0..good.len() {
        let malformed = json::transfer(&good.as_bytes()[..end], TENANT, None).expect_err("cut");
        assert_eq!(malformed.code, Code::InvalidJson, "cut at {end}");
    }
    let mut invalid = good.into_bytes();
    invalid[3] = 0xff;
    assert_eq!(code(json::transfer(&invalid, TENANT, None), "ff"), Code::InvalidUtf8);
    let deep = format!(r#"{{"id":"{ID}","metadata":{}"#, "[".repeat(1_000_000));
    assert_eq!(code(json::transfer(deep.as_bytes(), TENANT, None), "deep"), Code::WrongType);
    let deep = format!(r#"{{"id":"{ID}","metadata":{}"#, r#"{"a":"#.repeat(1_000_000));
    assert_eq!(code(json::transfer(deep.as_bytes(), TENANT, None), "deep"), Code::InvalidMetadata);
}

#[test]
fn bad_batches() {
    let item = |number: usize| format!(r#"{{"id":"{}","amount":"1"}}"#, uuid::string(number as u128));
    let batch = |count: usize| {
        let items: Vec<String> = (1..=count).map(item).collect();
        format!(r#"{{"transfers":[{}]}}"#, items.join(","))
    };
    let full = json::transfers(batch(BATCH_ROWS_MAX).as_bytes(), TENANT).expect("full");
    assert_eq!(full.commands.len(), BATCH_ROWS_MAX);
    assert_eq!(full.commands[8_189].id, 8_190);
    for (body, expected, index) in [
        (batch(0), Code::BatchEmpty, None),
        (batch(BATCH_ROWS_MAX + 1), Code::BatchTooLarge, None),
        ("{}".to_owned(), Code::MissingField, None),
        ("[]".to_owned(), Code::WrongType, None),
        (r#"{"transfers":{}}"#.to_owned(), Code::WrongType, None),
        (r#"{"transfers":null}"#.to_owned(), Code::WrongType, None),
        (r#"{"accounts":[]}"#.to_owned(), Code::UnknownField, None),
        (format!(r#"{{"transfers":[{}],"x":1}}"#, item(1)), Code::UnknownField, None),
        (format!(r#"{{"transfers":[{0}],"transfers":[{0}]}}"#, item(1)), Code::DuplicateField, None),
        (format!(r#"{{"transfers":[{},]}}"#, item(1)), Code::InvalidJson, None),
        (format!(r#"{{"transfers":[{}"#, item(1)), Code::InvalidJson, None),
        (format!(r#"{{"transfers":[{},[]]}}"#, item(1)), Code::WrongType, Some(1)),
        (format!(r#"{{"transfers":[{},{{"amount":"1"}}]}}"#, item(1)), Code::MissingField, Some(1)),
        (format!(r#"{{"transfers":[{},{{"id":"x"}}]}}"#, item(1)), Code::InvalidId, Some(1)),
    ] {
        let malformed = json::transfers(body.as_bytes(), TENANT).expect_err(&body);
        assert_eq!((malformed.code, malformed.index), (expected, index), "{body:.200}");
    }
}

#[test]
fn either_an_id_or_a_key() {
    let with_id = format!(r#"{{"id":"{ID}","amount":"1"}}"#);
    let without = br#"{"amount":"1"}"#;
    assert_eq!(code(json::transfer(with_id.as_bytes(), 1, Some("k")), "both"), Code::IdOrKeyNeeded);
    assert_eq!(code(json::transfer(without, 1, None), "neither"), Code::IdOrKeyNeeded);
    let of = |key: &str| json::transfer(without, 1, Some(key)).map(|request| request.commands[0].id);
    assert_eq!(of("k").expect("a key"), of("k").expect("a key"));
    assert_ne!(of("k").expect("a key"), of("K").expect("a key"));
    assert!(of(&"k".repeat(255)).is_ok());
    for bad in ["", " ", "a b", "é", "a\nb", &"k".repeat(256)] {
        assert_eq!(of(bad).expect_err(bad).code, Code::InvalidKey, "{bad}");
    }
    let account = json::account(br#"{"ledger":1}"#, 1, Some("k")).expect("an account");
    assert_ne!(account.commands[0].id, of("k").expect("a key"), "a key belongs to its route");
}

#[test]
fn accounts_and_ledgers() {
    let body = format!(
        r#"{{"id":"{ID}","ledger":1,"code":2,"flags":["debits_must_not_exceed_credits","imported"],
        "allowance":"500","reference":"Kasse","effective_at":"2020-01-01T00:00:00Z"}}"#
    );
    let (account, text) = only(json::account(body.as_bytes(), TENANT, None).expect("well-formed"));
    assert_eq!((account.kind, account.amount, account.flags), (CommandKind::Account, 500, 0b1_0010));
    assert_eq!(text, "Kasse");
    let (ledger, text) = only(
        json::ledger(br#"{"id":978,"asset":"EUR","exponent":2,"metadata":{"a":1}}"#, TENANT)
            .expect("well-formed"),
    );
    assert_eq!((ledger.kind, ledger.ledger, ledger.code), (CommandKind::Ledger, 978, 2));
    assert_eq!((ledger.id, text.as_str()), (uuid::of_ledger(TENANT, 978), r#"EUR{"a":1}"#));
    for (body, expected) in [
        (r#"{"asset":"EUR","exponent":2}"#, Code::MissingField),
        (r#"{"id":1,"exponent":2}"#, Code::MissingField),
        (r#"{"id":1,"asset":"EUR"}"#, Code::MissingField),
        (r#"{"id":0,"asset":"EUR","exponent":2}"#, Code::NumberOutOfRange),
        (r#"{"id":2147483648,"asset":"EUR","exponent":2}"#, Code::NumberOutOfRange),
        (r#"{"id":"1","asset":"EUR","exponent":2}"#, Code::WrongType),
        (r#"{"id":1,"asset":"eur","exponent":2}"#, Code::InvalidAsset),
        (r#"{"id":1,"asset":"","exponent":2}"#, Code::InvalidAsset),
        (r#"{"id":1,"asset":"ABCDEFGHIJKLMNOPQ","exponent":2}"#, Code::InvalidAsset),
        (r#"{"id":1,"asset":"EUR","exponent":65536}"#, Code::NumberOutOfRange),
        (r#"{"id":1,"asset":"EUR","exponent":2,"code":1}"#, Code::UnknownField),
    ] {
        assert_eq!(code(json::ledger(body.as_bytes(), TENANT), body), expected, "{body}");
    }
    let closed = format!(r#"{{"id":"{ID}","flags":["closed"]}}"#);
    assert_eq!(code(json::account(closed.as_bytes(), TENANT, None), "closed"), Code::InvalidFlags);
    let amount = format!(r#"{{"id":"{ID}","amount":"1"}}"#);
    assert_eq!(code(json::account(amount.as_bytes(), TENANT, None), "amount"), Code::UnknownField);
}

#[test]
fn resolutions() {
    for (action, body, flags) in [
        (Action::Post, r#"{"group":true}"#, flag::POST_PENDING | flag::GROUP),
        (Action::Post, "", flag::POST_PENDING),
        (Action::Void, r#"{"group":false}"#, flag::VOID_PENDING),
        (Action::Reverse, "{}", flag::REVERSE),
    ] {
        let request = json::resolution(body.as_bytes(), TENANT, action, ID, Some("k")).expect(body);
        let (command, _) = only(request);
        assert_eq!((command.flags, command.amount), (flags, AMOUNT_ALL));
        assert_eq!(command.target, uuid::parse(ID.as_bytes()).expect("an id"));
    }
    let of =
        |action, body: &str, target| json::resolution(body.as_bytes(), TENANT, action, target, Some("k"));
    assert_eq!(code(of(Action::Reverse, r#"{"group":true}"#, ID), "group"), Code::UnknownField);
    assert_eq!(code(of(Action::Post, r#"{"group":1}"#, ID), "group"), Code::WrongType);
    assert_eq!(code(of(Action::Post, r#"{"ledger":1}"#, ID), "ledger"), Code::UnknownField);
    assert_eq!(code(of(Action::Post, "{}", "x"), "target"), Code::InvalidId);
    assert_eq!(code(of(Action::Post, "  ", ID), "space"), Code::InvalidJson);
}

#[test]
fn both_forms_of_a_transfer_are_one_command() {
    for fields in [
        r#""debit_account_id":"00000000-0000-0000-0000-000000000001","credit_account_id":"00000000-0000-0000-0000-000000000002","amount":"18446744073709551616","ledger":1,"code":1"#,
        r#""amount":7,"flags":["pending","linked","imported"],"timeout_s":9,"effective_at":"2026-10-01T00:00:00Z""#,
        r#""reverses":"00000000-0000-0000-0000-000000000003""#,
        r#""flags":["void_pending","group"],"pending_id":"ffffffff-ffff-ffff-ffff-ffffffffffff""#,
    ] {
        let (command, text) = only(transfer(fields).expect(fields));
        assert_eq!(text, "");
        let mut record = fingerprint::record(&command).to_vec();
        record.resize(128, 0);
        let (other, _) = only(binary::transfers(&record, TENANT).expect("a record"));
        assert_eq!(other, command);
        for at in 0..100 {
            let mut changed = record.clone();
            changed[at] ^= 1;
            let (changed, _) = only(binary::transfers(&changed, TENANT).expect("a record"));
            assert_ne!(changed.fingerprint, command.fingerprint, "byte {at}");
        }
        for at in 100..128 {
            let mut changed = record.clone();
            changed[at] = 1;
            assert!(only(binary::transfers(&changed, TENANT).expect("a record")).0.reserved, "byte {at}");
        }
    }
    let (one, _) = only(transfer(r#""amount":"1","reference":"a""#).expect("a"));
    let (other, _) = only(transfer(r#""amount":"1","reference":"b""#).expect("b"));
    let (third, _) = only(transfer(r#""amount":"1""#).expect("none"));
    assert!(one.fingerprint != other.fingerprint && one.fingerprint != third.fingerprint);
    let other_tenant =
        json::transfer(format!(r#"{{"id":"{ID}","amount":"1"}}"#).as_bytes(), 8, None).expect("8");
    assert_eq!(other_tenant.commands[0].fingerprint, third.fingerprint);
}

#[test]
fn bad_records() {
    let of = |bytes: usize| binary::transfers(&vec![1; bytes], TENANT);
    assert_eq!(code(of(0), "0"), Code::BatchEmpty);
    assert_eq!(code(of(1), "1"), Code::InvalidRecords);
    assert_eq!(code(of(129), "129"), Code::InvalidRecords);
    assert_eq!(code(of(128 * (BATCH_ROWS_MAX + 1)), "8191"), Code::BatchTooLarge);
    let far = [[0; 128], [0xff; 128]].concat();
    let malformed = binary::transfers(&far, TENANT).expect_err("far");
    assert_eq!((malformed.code, malformed.index), (Code::InvalidTime, Some(1)));
    let mut flags = [0; 128];
    flags[99] = 0x80;
    assert!(only(binary::transfers(&flags, TENANT).expect("a record")).0.reserved);
}
