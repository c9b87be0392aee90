//! What relayd(8) refuses is refused with the place, and all of it at once.

use super::*;

#[track_caller]
fn refused(text: &str, place: &str, message: &str) {
    let error = import_text(text).expect_err(text);
    assert!(matches!(error, ImportError::Wrong(_)), "{text}: {error}");
    let report = error.to_string();
    let wanted = format!("relayd.conf:{place}: {message}");
    assert!(
        report.contains(&wanted),
        "{wanted} is missing in:\n{report}"
    );
}

const GOOD: &str = "listen on 10.0.0.1 port 1080\nforward to <t> check tcp";

#[test]
fn statements() {
    for (line, column, message) in [
        ("tabel <x> { 10.0.0.1 }", 1, "`tabel` begins no statement"),
        (
            "interval",
            9,
            "seconds is expected here, not the end of the line",
        ),
        ("interval five", 10, "seconds is expected here, not `five`"),
        (
            "interval 5 6",
            12,
            "the end of the line is expected here, not `6`",
        ),
        ("interval 0", 10, "`interval` cannot be 0"),
        ("timeout 20000", 9, "the timeout of a check must be"),
        ("x = 1080", 5, "a macro's value must be a text"),
        ("table = \"x\"", 1, "\"table\" cannot name a macro"),
        ("\"a b\" = x", 1, "\"a b\" cannot name a macro"),
        ("log everything", 1, "there is no `log everything`"),
        ("table <x> { }", 8, "table <x> has no hosts"),
        (
            "table <x> { 10.0.1.2 retry }",
            28,
            "retry is expected here, not `}`",
        ),
        (
            "table <x> { 10.0.1.2 retry 1 retry 2 }",
            36,
            "`retry` is given twice",
        ),
        (
            "table <host> { 10.0.1.2 }",
            8,
            "the name of a table is expected here, and `host`",
        ),
        ("table <t> { 10.0.1.9 }", 8, "table <t> is defined twice"),
        ("relay x {", 9, "this block never ends"),
        ("table <x> {", 11, "this table never ends"),
        ("x = \"never", 5, "this quoted text never ends"),
        ("interval $i", 10, "the macro `i` is not defined"),
        (
            "interval 99999999999999999999",
            10,
            "99999999999999999999 is too large a number",
        ),
        ("include \"nowhere\"", 9, "cannot include it"),
        (
            "include \"relayd.conf\"",
            9,
            "relayd.conf is not included: it would include itself",
        ),
    ] {
        // At the end, since what is not closed swallows the rest.
        let text = with("", GOOD) + line;
        let at = text.lines().count();
        refused(&text, &format!("{at}:{column}"), message);
    }
}

#[test]
fn options_of_redirects() {
    for (option, column, message) in [
        (
            "sticky-adress",
            1,
            "a redirect has no option `sticky-adress`",
        ),
        ("listen on 10.0.0.1", 19, "`port` is expected here"),
        (
            "listen on 10.0.0.1 port 0x50",
            25,
            "there is no port or service \"0x50\"",
        ),
        (
            "listen on 10.0.0.1 port 90:80",
            25,
            "the ports 90:80 are in the wrong order",
        ),
        (
            "listen on 10.0.0.1 port 70000",
            25,
            "there is no port or service \"70000\"",
        ),
        (
            "listen on nobody port 80",
            11,
            "cannot find an address of \"nobody\"",
        ),
        ("session timeout -1", 17, "seconds cannot be -1"),
        ("forward to <u>", 1, "table <u> has no check here"),
        ("forward to <w> check tcp", 13, "there is no table <w>"),
        (
            "forward to <u> port 1081 check tcp",
            1,
            "the backup table must have the port",
        ),
        (
            "forward to <u> mode random check tcp",
            1,
            "the backup table must have the mode",
        ),
        (
            "forward to <u> mode loadbalance check tcp",
            21,
            "mode loadbalance is for relays only",
        ),
        (
            "forward to <u> mode source-hsh check tcp",
            21,
            "there is no mode `source-hsh`",
        ),
        ("forward to <u> check tpc", 22, "there is no check `tpc`"),
        (
            "forward to <u> check http \"/\"",
            30,
            "`code` or `digest` is expected here",
        ),
        (
            "forward to <u> check http \"/\" digest \"12\"",
            38,
            "this is no digest",
        ),
        (
            "forward to <u> check binary send \"0\" expect \"00\"",
            34,
            "this is no sequence of hexadecimal bytes",
        ),
        (
            "forward to <u> interface em0 check tcp",
            26,
            "`forward to` goes by no interface",
        ),
        (
            "route to <u> check tcp",
            1,
            "`route to` needs the interface",
        ),
        (
            "forward to <u> check tcp interval 15",
            35,
            "the interval of a table must be a multiple",
        ),
        (
            "forward with tls to <u> check tcp",
            9,
            "`to` is expected here, not `with`",
        ),
    ] {
        let text = with("", &format!("{GOOD}\n{option}"));
        let at = 1 + text.lines().position(|line| line == option).unwrap();
        refused(&text, &format!("{at}:{column}"), message);
    }
    refused(
        &with("", "forward to <t> check tcp"),
        "4:10",
        "redirect \"r\" listens nowhere",
    );
    refused(
        &with("", "listen on 10.0.0.1 port 1"),
        "4:10",
        "redirect \"r\" has no table",
    );
    let third = format!("{GOOD}\nforward to <u> check tcp\nforward to <u> check tcp");
    refused(&with("", &third), "8:1", "only one backup table is allowed");
    refused(
        &(with("", GOOD)
            + &with("", GOOD)
                .replace("<t> {", "<v> {")
                .replace("<u> {", "<w> {")),
        "11:10",
        "redirect \"r\" is defined twice",
    );
}

#[test]
fn a_key_goes_with_source_hash_only() {
    let text = with(
        "",
        &format!("{GOOD}\nforward to <u> mode random \"key\" check tcp"),
    );
    refused(&text, "7:28", "mode random takes no key");
    let text = with(
        "",
        &format!("{GOOD}\nforward to <u> mode source-hash 0x12 check tcp"),
    );
    refused(&text, "7:33", "a hexadecimal key has 32 digits");
}

#[test]
fn all_mistakes_are_reported_at_once_in_their_files() {
    let files = [
        (
            "relayd.conf",
            "interval x\ninclude \"more.conf\"\nredirect r {\nlisten on 10.0.0.1 port none\nstick\n}\ntimeout y",
        ),
        (
            "more.conf",
            "table <t> { 10.0.1.2 retry x, 10.0.1.3 reply 2 }\nfoo",
        ),
    ];
    let report = import_files(&files).unwrap_err().to_string();
    for place in [
        "relayd.conf:1:10: ",
        "relayd.conf:4:25: ",
        "relayd.conf:5:1: ",
        "relayd.conf:7:9: ",
        "more.conf:1:28: ",
        "more.conf:2:1: ",
    ] {
        assert!(report.contains(place), "{place} is missing in:\n{report}");
    }
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_named() {
    let error = import(Path::new("nowhere"), &[], &Imagined::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read nowhere"),
        "{error}"
    );
    let mut around = Imagined::default();
    around.files.insert("f".to_owned(), b"a\nb\xff".to_vec());
    let error = import(Path::new("f"), &[], &around).unwrap_err();
    assert!(
        error.to_string().contains("no UTF-8 text in line 2"),
        "{error}"
    );
    around.files.insert("f".to_owned(), vec![b'#'; 2 << 20]);
    let error = import(Path::new("f"), &[], &around).unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
}
