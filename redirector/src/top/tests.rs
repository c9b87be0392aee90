//! What is on the screen, without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::show::tests::status;

fn drawn(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal
}

fn screen(view: &View, width: u16, height: u16) -> String {
    drawn(view, width, height).backend().to_string()
}

/// The sample state, then the same a second later with traffic.
fn busy() -> View {
    let mut view = View::default();
    let start = Instant::now();
    view.take(Ok(status()), start);
    let mut later = status();
    let node = &mut later.redirects[0].pool.nodes[0];
    node.traffic.syns += 40;
    node.traffic.forward_bytes += 125_000;
    later.counters[0].packets += 2500;
    later.counters.push(crate::control::status::CounterStatus {
        name: "drop-stranger".to_owned(),
        meaning: "Dropped.".to_owned(),
        packets: 3,
    });
    view.take(Ok(later), start + Duration::from_secs(1));
    view
}

fn line<'a>(screen: &'a str, holds: &str) -> &'a str {
    let line = screen.lines().find(|line| line.contains(holds));
    line.unwrap_or_else(|| panic!("no {holds} in\n{screen}"))
}

#[test]
fn every_node_has_its_state_and_rates() {
    let screen = screen(&busy(), 140, 40);
    let first = line(&screen, "  10.0.1.2 ");
    for part in ["up", "40", "1.0 Mbit/s", "tcp connect ok; answers in 524us"] {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert!(line(&screen, "  p2 ").contains("down"));
    assert!(line(&screen, "  10.0.1.4 ").contains("draining"));
    assert!(line(&screen, "  10.0.1.9 ").contains("unknown"));
    assert!(line(&screen, "socksbalance (IPv4)").contains("12 slots split"));
    assert!(line(&screen, "forward-settled").contains("2.5k/s"));
    assert!(line(&screen, "New connections").contains("40"));
}

#[test]
fn it_can_be_drawn_on_any_size() {
    for view in [busy(), View::default()] {
        for (width, height) in (0..40).flat_map(|n| [(n, 40), (n * 6, n), (80, n), (1, n), (n, 1)])
        {
            drawn(&view, width, height);
        }
        drawn(&view, 500, 200);
    }
}

#[test]
fn an_agent_that_is_gone_is_told_and_what_was_known_stays() {
    let mut view = View::default();
    view.take(Err("no agent is listening".to_owned()), Instant::now());
    assert!(screen(&view, 80, 24).contains("no agent is listening"));
    let mut view = busy();
    view.take(Err("no agent is listening".to_owned()), Instant::now());
    let screen = screen(&view, 140, 40);
    assert!(
        screen.contains("no agent is listening") && screen.contains("10.0.1.2"),
        "{screen}"
    );
}

#[test]
fn keys_scroll_pause_and_end() {
    let mut view = busy();
    let key = |view: &mut View, code| press(view, KeyEvent::new(code, KeyModifiers::NONE));
    assert!(!key(&mut view, KeyCode::Down));
    let scrolled = screen(&view, 140, 40);
    assert!(
        !scrolled.contains("socksbalance (IPv4)") && scrolled.contains("  10.0.1.2 "),
        "{scrolled}"
    );
    for _ in 0..100 {
        assert!(!key(&mut view, KeyCode::PageDown));
    }
    assert!(
        screen(&view, 140, 40).contains("10.0.1.9"),
        "the last line stays"
    );
    assert!(!key(&mut view, KeyCode::Home));
    assert!(screen(&view, 140, 40).contains("socksbalance (IPv4)"));
    assert!(!key(&mut view, KeyCode::Char('p')));
    assert!(screen(&view, 140, 40).contains("paused"));
    assert!(key(&mut view, KeyCode::Char('q')));
    assert!(press(
        &mut view,
        KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)
    ));
}
