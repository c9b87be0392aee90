//! What is drawn.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Borders, Cell, Paragraph, RenderDirection, Row, Sparkline, Table, Wrap,
};

use super::History;
use crate::control::Status;
use crate::control::status::{
    NodeStatus, OperatorState, PoolStatus, RedirectState, RedirectStatus,
};
use crate::health::Health;
use crate::show::answers;
use crate::units::rough;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
const UP: Style = Style::new().fg(Color::Green);
const DOWN: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const WARN: Style = Style::new().fg(Color::Yellow);

/// Lines of the counters at the bottom, with their title.
const COUNTERS: u16 = 10;

/// What is shown, and how the user wants to see it.
#[derive(Default)]
pub(super) struct View {
    status: Option<Status>,
    trouble: Option<String>,
    history: History,
    first_row: usize,
    /// The agent is not asked.
    pub(super) is_paused: bool,
    /// Counters are shown that stand still, too.
    pub(super) all_counters: bool,
}

/// The totals at the top, with what they count.
const TOTALS: [(&str, &str, Unit); 4] = [
    ("syns", "New connections", Unit::Count),
    ("packets", "Packets", Unit::Count),
    ("out", "To the nodes", Unit::Bits),
    ("in", "To the clients", Unit::Bits),
];

#[derive(Clone, Copy)]
enum Unit {
    Count,
    Bits,
}

impl View {
    /// Takes what the agent has answered.
    pub(super) fn take(&mut self, answer: Result<Status, String>, at: Instant) {
        match answer {
            Err(trouble) => self.trouble = Some(trouble),
            Ok(status) => {
                self.trouble = None;
                self.note(&status, at);
                self.status = Some(status);
            }
        }
    }

    /// Shows earlier or later lines of nodes.
    pub(super) fn scroll(&mut self, lines: isize) {
        let last = self
            .status
            .as_ref()
            .map_or(0, |status| rows_of(status).saturating_sub(1));
        self.first_row = self.first_row.saturating_add_signed(lines).min(last);
    }

    fn note(&mut self, status: &Status, at: Instant) {
        let history = &mut self.history;
        // A node's socket that two redirects reach counts once.
        let mut seen = std::collections::BTreeSet::new();
        let mut totals = [0_u64; 4];
        for (redirect, pool, node) in status.nodes() {
            let traffic = &node.traffic;
            let key = key(redirect, pool, node);
            for (what, total) in [
                ("syns", traffic.syns),
                ("out", traffic.forward_bytes),
                ("in", traffic.reply_bytes),
            ] {
                history.note(&format!("{key}/{what}"), total, at);
            }
            if seen.insert(node.id) {
                let packets = traffic
                    .forward_packets
                    .saturating_add(traffic.reply_packets);
                let own = [
                    traffic.syns,
                    packets,
                    traffic.forward_bytes,
                    traffic.reply_bytes,
                ];
                for (total, own) in totals.iter_mut().zip(own) {
                    *total = total.saturating_add(own);
                }
            }
        }
        for ((name, _, _), total) in TOTALS.iter().zip(totals) {
            history.note(name, total, at);
        }
        for counter in &status.counters {
            history.note(&format!("counter/{}", counter.name), counter.packets, at);
        }
        history.keep(at);
    }

    /// Draws all of it, on whatever room there is.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let graphs = if area.height >= 24 { 5 } else { 0 };
        let counters = if area.height >= 16 { COUNTERS } else { 0 };
        let [head, top, nodes, bottom, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(graphs),
            Constraint::Min(0),
            Constraint::Length(counters),
            Constraint::Length(1),
        ])
        .areas(area);
        self.draw_head(frame, head);
        let Some(status) = &self.status else {
            let text = self.trouble.as_deref().unwrap_or("asking the agent");
            frame.render_widget(
                Paragraph::new(text).style(WARN).wrap(Wrap { trim: true }),
                nodes,
            );
            draw_foot(frame, foot);
            return;
        };
        self.draw_graphs(frame, top);
        self.draw_nodes(frame, nodes, status);
        self.draw_counters(frame, bottom, status);
        draw_foot(frame, foot);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut first = vec![Span::styled("redirector ", TITLE)];
        let mut second = Vec::new();
        if let Some(status) = &self.status {
            let interfaces = status.interfaces.iter();
            let interfaces: Vec<_> = interfaces
                .map(|one| format!("{} ({})", one.interface, one.mode))
                .collect();
            let running = rough(Duration::from_secs(
                status.at.saturating_sub(status.started),
            ));
            first.push(Span::raw(format!(
                "{}, running for {running}, on {}",
                status.version,
                interfaces.join(", ")
            )));
            second.push(Span::styled(
                format!(
                    "configuration {}, {} of {} flows recorded",
                    status.generation, status.flows.recorded, status.flows.max
                ),
                QUIET,
            ));
        }
        if self.is_paused {
            second.push(Span::styled("  paused", WARN));
        }
        if let Some(trouble) = self.trouble.as_ref().filter(|_| self.status.is_some()) {
            second = vec![Span::styled(trouble.clone(), DOWN)];
        }
        frame.render_widget(
            Paragraph::new(vec![Line::from(first), Line::from(second)]),
            area,
        );
    }

    fn draw_graphs(&self, frame: &mut Frame<'_>, area: Rect) {
        let areas: [Rect; 4] = Layout::horizontal([Constraint::Fill(1); 4]).areas(area);
        for ((name, title, unit), area) in TOTALS.iter().zip(areas) {
            let rate = self.history.rate(name);
            let title = Line::from(vec![
                Span::styled(format!(" {title} "), QUIET),
                Span::styled(format!("{} ", written(rate, *unit)), TITLE),
            ]);
            let block = Block::new()
                .borders(Borders::ALL)
                .border_style(QUIET)
                .title(title);
            let graph = Sparkline::default()
                .block(block)
                .direction(RenderDirection::RightToLeft)
                .style(Style::new().fg(Color::Blue))
                .data(self.history.rates(name));
            frame.render_widget(graph, area);
        }
    }

    fn draw_nodes(&self, frame: &mut Frame<'_>, area: Rect, status: &Status) {
        let head = Row::new([
            "Node",
            "State",
            "For",
            "Slots",
            "New/s",
            "Sent",
            "Answered",
            "Live",
            "Last check",
        ]);
        let mut rows = Vec::new();
        for redirect in &status.redirects {
            rows.push(redirect_row(redirect));
            for pool in redirect.pools() {
                for node in &pool.nodes {
                    rows.push(self.node_row(status, redirect, pool, node));
                }
            }
        }
        let widths = [
            Constraint::Fill(2),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Length(7),
            Constraint::Length(8),
            Constraint::Length(11),
            Constraint::Length(11),
            Constraint::Length(8),
            Constraint::Fill(3),
        ];
        let rows = rows.into_iter().skip(self.first_row);
        let table = Table::new(rows, widths)
            .header(head.style(QUIET))
            .column_spacing(1);
        frame.render_widget(table, area);
    }

    fn node_row<'a>(
        &self,
        status: &Status,
        redirect: &'a RedirectStatus,
        pool: &'a PoolStatus,
        node: &'a NodeStatus,
    ) -> Row<'a> {
        let key = key(redirect, pool, node);
        let rate = |what| self.history.rate(&format!("{key}/{what}"));
        let (word, style) = match (node.operator, node.health) {
            (OperatorState::Draining, _) => ("draining", WARN),
            (OperatorState::Disabled, _) => ("disabled", WARN),
            (OperatorState::Enabled, Health::Up) => ("up", UP),
            (OperatorState::Enabled, Health::Down) => ("down", DOWN),
            (OperatorState::Enabled, Health::Unknown) => ("unknown", QUIET),
        };
        let answered = if redirect.hears_nodes() {
            written(rate("in"), Unit::Bits)
        } else {
            "-".to_owned()
        };
        let share = f64::from(node.slots) * 100.0 / f64::from(redirect.slots.max(1));
        let mut check = node
            .last_check
            .as_ref()
            .map_or_else(String::new, |check| check.outcome.clone());
        if node.answers.is_some() {
            check = format!("{check}; answers in {}", answers(node));
        }
        Row::new([
            Cell::from(format!("  {}", node.name)),
            Cell::from(Span::styled(word, style)),
            Cell::from(rough(Duration::from_secs(
                status.at.saturating_sub(node.since),
            ))),
            right(format!("{share:.1}%")),
            right(written(rate("syns"), Unit::Count)),
            right(written(rate("out"), Unit::Bits)),
            right(answered),
            right(node.live.to_string()),
            Cell::from(Span::styled(check, QUIET)),
        ])
    }

    fn draw_counters(&self, frame: &mut Frame<'_>, area: Rect, status: &Status) {
        let title = if self.all_counters {
            " What became of packets "
        } else {
            " What became of packets (a: all counters) "
        };
        let block = Block::new()
            .borders(Borders::TOP)
            .border_style(QUIET)
            .title(title);
        let room = usize::from(block.inner(area).height);
        let rate = |name: &str| self.history.rate(&format!("counter/{name}")).unwrap_or(0);
        let mut counters: Vec<_> = status
            .counters
            .iter()
            .filter(|counter| counter.packets > 0 || self.all_counters)
            .map(|counter| (rate(&counter.name), counter))
            .collect();
        // What is dropped comes first: it is what one looks for.
        counters.sort_by_key(|(rate, counter)| {
            let dropped = counter.name.starts_with("drop-") && *rate > 0;
            (!dropped, std::cmp::Reverse(*rate))
        });
        let rows = counters.into_iter().take(room).map(|(rate, counter)| {
            let dropping = counter.name.starts_with("drop-") && rate > 0;
            Row::new([
                Cell::from(Span::styled(
                    &*counter.name,
                    if dropping { DOWN } else { Style::new() },
                )),
                right(counter.packets.to_string()),
                right(format!("{}/s", written(Some(rate), Unit::Count))),
                Cell::from(Span::styled(&*counter.meaning, QUIET)),
            ])
        });
        let widths = [
            Constraint::Length(24),
            Constraint::Length(16),
            Constraint::Length(10),
            Constraint::Fill(1),
        ];
        frame.render_widget(
            Table::new(rows, widths).column_spacing(1).block(block),
            area,
        );
    }
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect) {
    let keys = "q quit   up, down scroll   p pause   a all counters";
    frame.render_widget(Paragraph::new(keys).style(QUIET), area);
}

fn redirect_row(redirect: &RedirectStatus) -> Row<'_> {
    let style = match redirect.state {
        RedirectState::Active => UP,
        RedirectState::Down => DOWN,
        RedirectState::ActiveBackup | RedirectState::Draining | RedirectState::Disabled => WARN,
    };
    let name = format!(
        "{} ({}) {}",
        redirect.name,
        redirect.family,
        redirect.listen.join(" ")
    );
    let split = match redirect.split_slots {
        0 => "all slots settled".to_owned(),
        split => format!("{split} slots split"),
    };
    let nothing = || Cell::from("");
    Row::new([
        Cell::from(Span::styled(name, TITLE)),
        Cell::from(Span::styled(redirect.state.to_string(), style)),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        Cell::from(Span::styled(split, QUIET)),
    ])
}

fn rows_of(status: &Status) -> usize {
    status.redirects.len() + status.nodes().count()
}

fn key(redirect: &RedirectStatus, pool: &PoolStatus, node: &NodeStatus) -> String {
    format!("{}/{}/{}", redirect.id, pool.name, node.name)
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

/// A rate with the prefix of its size; three digits say enough.
fn written(rate: Option<u64>, unit: Unit) -> String {
    let Some(rate) = rate else {
        return "-".to_owned();
    };
    let (value, unit) = match unit {
        Unit::Count => (rate, ""),
        Unit::Bits => (rate.saturating_mul(8), "bit/s"),
    };
    let gap = if unit.is_empty() { "" } else { " " };
    let mut scale = 1;
    for prefix in ["", "k", "M", "G"] {
        if value / scale < 1000 {
            let whole = value / scale;
            let tenths = value % scale * 10 / scale;
            return if scale > 1 && whole < 10 {
                format!("{whole}.{tenths}{gap}{prefix}{unit}")
            } else {
                format!("{whole}{gap}{prefix}{unit}")
            };
        }
        scale *= 1000;
    }
    format!("{}{gap}T{unit}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_in_few_characters() {
        for (rate, unit, text) in [
            (None, Unit::Count, "-"),
            (Some(0), Unit::Count, "0"),
            (Some(999), Unit::Count, "999"),
            (Some(1500), Unit::Count, "1.5k"),
            (Some(25_000), Unit::Count, "25k"),
            (Some(125), Unit::Bits, "1.0 kbit/s"),
            (Some(12_500_000), Unit::Bits, "100 Mbit/s"),
            (Some(u64::MAX), Unit::Count, "18446744T"),
        ] {
            assert_eq!(written(rate, unit), text);
        }
    }
}
