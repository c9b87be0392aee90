use std::time::Duration;

use super::*;
use crate::config::Check;

fn target() -> Target {
    Target {
        pool: "pool".to_owned(),
        node: "p2".to_owned(),
        address: "10.0.1.3:1080".parse().unwrap(),
        checks: [Check::default()].into(),
        ttl: None,
    }
}

/// What becomes of a script that a shell runs.
async fn run(text: &str, up_when: UpWhen, limit: Duration) -> Outcome {
    let script = Script {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
        user: None,
        up_when,
    };
    let mut users = Users::default();
    if Uid::effective().is_root() {
        users = nobody_only();
    }
    let host = (&users, &Hands::default());
    check(&script, &target(), 1080, host, Instant::now() + limit).await
}

fn nobody_only() -> Users {
    let user = User::from_name(NOBODY).unwrap().unwrap();
    let ids = (user.uid.as_raw(), user.gid.as_raw());
    Users {
        by_name: HashMap::from([(NOBODY.to_owned(), ids)]),
        default: Some(NOBODY),
    }
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_exit_code_decides_and_the_first_line_tells_why() {
    for (text, up_when, cause, story) in [
        ("exit 0", UpWhen::Zero, Cause::Passed, "exit code 0"),
        (
            "echo; echo not well; echo at all; exit 3",
            UpWhen::Zero,
            Cause::ScriptFailed,
            "exit code 3: not well",
        ),
        (
            "echo broken >&2; exit 3",
            UpWhen::Zero,
            Cause::ScriptFailed,
            "exit code 3: broken",
        ),
        (
            "exit 0",
            UpWhen::Positive,
            Cause::ScriptFailed,
            "exit code 0",
        ),
        ("exit 7", UpWhen::Positive, Cause::Passed, "exit code 7"),
        (
            "kill -9 $$",
            UpWhen::Zero,
            Cause::ScriptFailed,
            "ended by signal 9",
        ),
    ] {
        let outcome = run(text, up_when, SOON).await;
        assert_eq!(
            (outcome.cause(), outcome.to_string().as_str()),
            (cause, story)
        );
    }
}

#[tokio::test]
async fn it_knows_the_node_and_nothing_else() {
    let text = "echo $(env | grep -v -e ^_= -e ^PWD= -e ^SHLVL= -e ^OLDPWD= -e ^PATH= \
                -e ^REDIRECTOR_TIMEOUT_MS= | sort)";
    let outcome = run(text, UpWhen::Zero, SOON).await;
    assert_eq!(
        outcome.to_string(),
        "exit code 0: REDIRECTOR_ADDRESS=10.0.1.3 REDIRECTOR_NODE=p2 REDIRECTOR_POOL=pool REDIRECTOR_PORT=1080"
    );
}

#[tokio::test]
async fn it_has_no_privileges() {
    let outcome = run("grep CapEff /proc/self/status", UpWhen::Zero, SOON).await;
    let story = outcome.to_string();
    assert!(story.ends_with("0000000000000000"), "{story}");
    if Uid::effective().is_root() {
        let outcome = run("id -u; id -G", UpWhen::Zero, SOON).await;
        assert_eq!(outcome.to_string(), "exit code 0: 65534");
    }
}

#[tokio::test]
async fn it_is_killed_with_all_its_children_when_its_time_is_over() {
    let start = std::time::Instant::now();
    let mark = std::env::temp_dir().join(format!("redirector-script-{}", std::process::id()));
    let text = format!("(sleep 2; echo > {}) & sleep 60", mark.display());
    let outcome = run(&text, UpWhen::Zero, Duration::from_millis(300)).await;
    assert_eq!(outcome.cause(), Cause::ScriptTimeout);
    assert!(start.elapsed() < Duration::from_secs(10));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!mark.exists(), "a child of it lived on");
}

#[tokio::test]
async fn a_script_that_never_stops_talking_is_bounded() {
    let outcome = run("yes | head -c 3000000; exit 4", UpWhen::Zero, SOON).await;
    assert_eq!(outcome.to_string(), "exit code 4: y");
}

#[tokio::test]
async fn what_it_leaves_behind_does_not_hold_the_check_up() {
    let start = std::time::Instant::now();
    let outcome = run("sleep 30 & exit 0", UpWhen::Zero, SOON).await;
    assert_eq!(outcome.cause(), Cause::Passed);
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_script_that_is_not_there_says_nothing_about_the_node() {
    let script = Script {
        command: vec!["/nonexistent/check".to_owned()],
        user: None,
        up_when: UpWhen::Zero,
    };
    let host = (&nobody_only(), &Hands::default());
    let outcome = check(&script, &target(), 1080, host, Instant::now() + SOON).await;
    assert_eq!(outcome.success(), None);
    assert!(
        outcome.to_string().contains("/nonexistent/check"),
        "{outcome}"
    );
}
