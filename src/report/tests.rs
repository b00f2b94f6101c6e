//! Claims about what a person sees, on hand-made events with fixed times and on a made-up run of forty layers.

use super::document::Report;
use super::event::{self, Event, Happening, Outcome};
use super::headline::headline;
use super::model::RunModel;
use super::path::critical_path;
use super::plain::Place;
use super::remaining::Earlier;
use super::reporter::Verbosity;
use super::screen::Screen;
use super::text::{Line, Tone, clock, fold, list, seconds};
use super::{end, live, markdown, page, plain};
use crate::plan::Action;
use jiff::{SignedDuration, Timestamp};

#[path = "../../examples/replay/sample.rs"]
mod sample;

fn began() -> Timestamp {
    "2026-11-21T03:00:00Z".parse().expect("a time")
}

fn at(milliseconds: i64) -> Timestamp {
    began() + SignedDuration::from_millis(milliseconds)
}

/// Events of a run with these happenings.
fn run(happenings: Vec<(i64, Happening)>) -> Vec<Event> {
    happenings.into_iter().map(|(time, happening)| Event { time: at(time), run: "r1".into(), happening }).collect()
}

fn planned(nodes: &[&str], edges: &[(&str, &str, &str)]) -> Happening {
    Happening::Planned {
        environment: "staging".into(),
        revision: "4f0c2d6a91b3e57788d0c1a2b3c4d5e6f7a8b9c0".into(),
        nodes: nodes.iter().map(|node| (layer(node), Action::Apply)).collect(),
        edges: edges.iter().map(|(from, to, reason)| (layer(from), layer(to), (*reason).into())).collect(),
    }
}

fn layer(name: &str) -> String {
    format!("layer/flux-system/{name}")
}

fn waiting(node: &str, on: &[(&str, &str)]) -> Happening {
    Happening::Waiting { node: layer(node), on: on.iter().map(|(node, reason)| (layer(node), (*reason).into())).collect() }
}

fn started(node: &str, objects: usize) -> Happening {
    Happening::Started { node: layer(node), action: Action::Apply, objects }
}

fn applied(node: &str, created: usize) -> Happening {
    Happening::Applied { node: layer(node), created, changed: 0, unchanged: 0 }
}

fn progress(node: &str, ready: usize, of: usize, message: &str) -> Happening {
    Happening::Progress { node: layer(node), ready, of, message: message.into() }
}

fn finished(node: &str, result: Outcome, error: Option<&str>) -> Happening {
    Happening::Finished { node: layer(node), action: Action::Apply, result, error: error.map(Into::into) }
}

fn handed_over(node: &str) -> Happening {
    Happening::HandedOver { node: layer(node), changed: Vec::new() }
}

/// Two layers in a row, one beside them, one suspended; everything goes well.
fn good() -> Vec<Event> {
    run(vec![
        (0, Happening::Phase { name: "read".into(), detail: "clusters/staging".into() }),
        (500, planned(&["crds", "operator", "docs", "old"], &[("crds", "operator", "CustomResourceDefinition things.example.org")])),
        (500, Happening::Phase { name: "run".into(), detail: "16 at a time".into() }),
        (500, waiting("operator", &[("crds", "CustomResourceDefinition things.example.org")])),
        (500, finished("old", Outcome::Skipped, Some("spec.suspend is true"))),
        (510, started("crds", 3)),
        (510, started("docs", 2)),
        (600, applied("docs", 2)),
        (700, applied("crds", 3)),
        (900, finished("docs", Outcome::Ready, None)),
        (1200, finished("crds", Outcome::Ready, None)),
        (1210, started("operator", 12)),
        (1500, applied("operator", 12)),
        (1600, progress("operator", 11, 12, "Deployment things/operator: 0 of 1 replicas are available")),
        (4200, finished("operator", Outcome::Ready, None)),
        (4200, Happening::Phase { name: "handover".into(), detail: "Flux confirms each layer".into() }),
        (4300, handed_over("crds")),
        (4300, handed_over("docs")),
        (5100, handed_over("operator")),
        (5110, Happening::Ended { success: true, summary: "every layer is ready".into() }),
    ])
}

/// The operator fails, which blocks two.
fn bad() -> Vec<Event> {
    let edges = [("crds", "operator", "dependsOn"), ("operator", "shop", "dependsOn"), ("shop", "search", "dependsOn")];
    run(vec![
        (0, planned(&["crds", "operator", "shop", "search"], &edges)),
        (0, waiting("operator", &[("crds", "dependsOn")])),
        (0, waiting("shop", &[("operator", "dependsOn")])),
        (0, waiting("search", &[("shop", "dependsOn")])),
        (10, started("crds", 3)),
        (100, applied("crds", 3)),
        (400, finished("crds", Outcome::Ready, None)),
        (410, started("operator", 12)),
        (700, applied("operator", 12)),
        (800, progress("operator", 11, 12, "Deployment things/operator: 0 of 1 replicas are available")),
        (900, Happening::Warning { node: None, message: "the clock of the API server is 4s behind".into() }),
        (
            60_800,
            finished("operator", Outcome::Failed, Some("Deployment things/operator: not ready after 1m\nlast event: ImagePullBackOff")),
        ),
        (60_800, finished("shop", Outcome::Blocked, None)),
        (60_800, finished("search", Outcome::Blocked, None)),
        (60_810, Happening::Ended { success: false, summary: "The same command goes on from here.".into() }),
    ])
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| line.render(false) + "\n").collect()
}

/// With a margin, so that spaces at the beginning are part of a snapshot.
fn shown(lines: &[Line]) -> String {
    text(lines).lines().flat_map(|line| ["|", line, "\n"]).collect()
}

fn lines_of(events: &[Event], place: Place, verbosity: Verbosity, columns: Option<usize>) -> String {
    let mut model = RunModel::default();
    let mut all = Vec::new();
    for event in events {
        model.take(event);
        all.extend(plain::lines(&model, event, place, verbosity, columns));
    }
    shown(&all)
}

fn until(events: &[Event], milliseconds: i64) -> RunModel {
    RunModel::of(events.iter().filter(|event| event.time <= at(milliseconds)))
}

#[test]
fn says_one_line_for_each_thing_that_happens_without_a_terminal() {
    insta::assert_snapshot!(lines_of(&good(), Place::Pipe, Verbosity::Normal, None), @r#"
    |    0.0s  read         clusters/staging
    |    0.5s  planned      staging at 4f0c2d6a91b3: 4 layers
    |    0.5s  run          16 at a time
    |    0.5s  skipped      old       spec.suspend is true
    |    0.5s  start        crds      3 objects
    |    0.5s  start        docs      2 objects
    |    0.9s  ready        docs      in 0.4s, 2 objects
    |    1.2s  ready        crds      in 0.7s, 3 objects
    |    1.2s  start        operator  12 objects
    |    4.2s  ready        operator  in 3.0s, 12 objects
    |    4.2s  handover     Flux confirms each layer
    |    4.3s  handed over  crds
    |    4.3s  handed over  docs
    |    5.1s  handed over  operator
    "#);
}

#[test]
fn keeps_a_failure_on_one_line_in_a_pipe_and_folds_it_on_a_terminal() {
    insta::assert_snapshot!(lines_of(&bad(), Place::Pipe, Verbosity::Quiet, None), @"|  1m 00s  failed       operator  Deployment things/operator: not ready after 1m; last event: ImagePullBackOff");
    insta::assert_snapshot!(lines_of(&bad(), Place::AboveLive, Verbosity::Quiet, Some(60)), @r#"
    |  1m 00s  failed       operator
    |                       Deployment things/operator: not ready
    |                       after 1m
    |                       last event: ImagePullBackOff
    "#);
}

#[test]
fn shows_what_runs_and_what_waits_for_what() {
    insta::assert_snapshot!(shown(&live::frame(&until(&bad(), 900), at(12_300), None, 110, 24)), @r#"
    |
    |staging 4f0c2d6a91b3                                                                                      12s
    |━━━━━━━━━━━━━━━━━━━━━━━━┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄  1 of 4 ready, 1 becoming ready, 2 waiting
    |  operator     11s  becoming ready  11/12   Deployment things/operator: 0 of 1 replicas are available
    |  shop waits for operator
    |  search waits for shop
    "#);
}

#[test]
fn shows_the_phase_before_there_is_a_plan() {
    insta::assert_snapshot!(shown(&live::frame(&until(&good(), 0), at(300), None, 60, 24)), @r#"
    |
    |read  clusters/staging                                   0s
    "#);
}

#[test]
fn ends_with_a_table_the_critical_path_and_the_result() {
    insta::assert_snapshot!(shown(&end::lines(&RunModel::of(&good()), 110, Verbosity::Normal, &[])), @r#"
    |
    |layer     start  applied    ready  handed over  objects  waited last for
    |crds       0.5s     0.7s     1.2s         4.3s        3
    |docs       0.5s     0.6s     0.9s         4.3s        2
    |operator   1.2s     1.5s     4.2s         5.1s       12  crds (CustomResourceDefinition things.example.org)
    |old                       skipped
    |
    |Critical path: each waited for the one above it
    |    1.2s    +0.7s  crds
    |    4.2s    +3.0s  operator  CustomResourceDefinition things.example.org
    |
    |staging is back: 3 layers ready in 4.2s, handed over in 5.1s, 1 skipped
    |read 0.5s, run 3.7s, handover 0.9s
    "#);
}

#[test]
fn ends_with_root_causes_and_what_they_block() {
    insta::assert_snapshot!(shown(&end::lines(&RunModel::of(&bad()), 80, Verbosity::Normal, &["out/report.html".into()])), @r#"
    |
    |layer     start  applied    ready  objects  waited last for
    |crds       0.0s     0.1s     0.4s        3
    |operator   0.4s     0.7s   failed       12  crds (dependsOn)
    |shop                      blocked           operator (dependsOn)
    |search                    blocked           shop (dependsOn)
    |
    |Critical path: each waited for the one above it
    |    0.4s    +0.4s  crds
    |  1m 00s  +1m 00s  operator  dependsOn
    |
    |Warnings
    |  the clock of the API server is 4s behind
    |
    |failed  operator
    |  Deployment things/operator: not ready after 1m
    |  last event: ImagePullBackOff
    |  blocks 2: shop, search
    |
    |staging is not back: 1 of 4 layers ready, 1 failed, 2 blocked
    |The same command goes on from here.
    |report: out/report.html
    "#);
}

#[test]
fn writes_a_report_for_a_ticket() {
    insta::assert_snapshot!(markdown::text(&Report::of(&RunModel::of(&bad()))), @r#"
    # staging is not back: 1 of 4 layers ready, 1 failed, 2 blocked

    Revision `4f0c2d6a91b3`, started 2026-11-21 03:00:00 UTC. Times count from the start of the command.

    - Done: objects: 15 created

    The same command goes on from here.

    ## Failed: operator

        Deployment things/operator: not ready after 1m
        last event: ImagePullBackOff

    Blocks 2: shop, search

    ## Critical path

    | what | until | took | why after the one above |
    |---|--:|--:|---|
    | crds | 0.4s | 0.4s |  |
    | operator | 1m 00s | 1m 00s | dependsOn |

    ## Layers

    | layer | start | applied | ready | handed over | objects | waited last for |
    |---|--:|--:|--:|--:|--:|---|
    | crds | 0.0s | 0.1s | 0.4s |  | 3 |  |
    | operator | 0.4s | 0.7s | **failed** |  | 12 | crds (dependsOn) |
    | shop |  |  | blocked |  |  | operator (dependsOn) |
    | search |  |  | blocked |  |  | shop (dependsOn) |

    ## Warnings

    - the clock of the API server is 4s behind
    "#);
}

#[test]
fn never_says_back_or_proved_of_a_rehearsal() {
    let mut events = good();
    events.insert(
        3,
        Event {
            time: at(500),
            run: "r1".into(),
            happening: Happening::StandIn { object: "HelmChart a".into(), reason: "no internet".into() },
        },
    );
    let model = RunModel::of(&events);
    assert_eq!(headline(&model), "staging rehearsed with 1 stand-in: 3 layers ready in 4.2s, handed over in 5.1s, 1 skipped");
    assert_eq!(headline(&RunModel::of(&good())), "staging is back: 3 layers ready in 4.2s, handed over in 5.1s, 1 skipped");
}

#[test]
fn calls_a_run_without_an_end_interrupted() {
    let model = until(&bad(), 900);
    assert!(!model.success());
    assert_eq!(headline(&model), "staging was interrupted: 1 of 4 layers ready");
    assert!(text(&end::lines(&model, 80, Verbosity::Normal, &[])).contains("unfinished  operator"));
}

#[test]
fn an_environment_that_is_taken_down_is_gone_not_back() {
    let nodes: Vec<String> = ["a", "b"].map(|name| format!("aws/sqs/Queue/ack/{name}")).into();
    let finished = |node: &String, result| Happening::Finished { node: node.clone(), action: Action::Delete, result, error: None };
    let run = |second, success| {
        let planned = Happening::Planned {
            environment: "staging".into(),
            revision: String::new(),
            nodes: nodes.iter().map(|node| (node.clone(), Action::Delete)).collect(),
            edges: Vec::new(),
        };
        let ended = Happening::Ended { success, summary: String::new() };
        run(vec![(0, planned), (1000, finished(&nodes[0], Outcome::Ready)), (2000, finished(&nodes[1], second)), (2000, ended)])
    };
    assert_eq!(headline(&RunModel::of(&run(Outcome::Ready, true))), "staging is gone: 2 resources deleted in 2.0s");
    assert_eq!(headline(&RunModel::of(&run(Outcome::Failed, false))), "staging is not gone: 1 of 2 resources deleted, 1 failed");
}

fn path_of(events: &[Event]) -> Vec<String> {
    let model = RunModel::of(events);
    critical_path(&model)
        .into_iter()
        .map(|step| {
            let name = model.short(&model.nodes[step.node].id).to_owned();
            format!("{name} until {}", seconds(model.since_began(step.until)))
        })
        .collect()
}

#[test]
fn follows_the_dependency_that_was_satisfied_last() {
    assert_eq!(path_of(&good()), ["crds until 1.2s", "operator until 4.2s"]);
}

#[test]
fn follows_a_parent_through_the_child_that_its_readiness_waits_for() {
    let events = run(vec![
        (0, planned(&["root", "child"], &[("root", "child", "declared by"), ("child", "root", "wait")])),
        (0, started("root", 1)),
        (100, applied("root", 1)),
        (110, started("child", 1)),
        (200, applied("child", 1)),
        (900, finished("child", Outcome::Ready, None)),
        (910, finished("root", Outcome::Ready, None)),
    ]);
    assert_eq!(path_of(&events), ["root until 0.1s", "child until 0.9s", "root until 0.9s"]);
}

#[test]
fn a_path_ends_although_times_and_edges_go_round() {
    let events = run(vec![
        (0, planned(&["a", "b"], &[("a", "b", "x"), ("b", "a", "y")])),
        (5, started("a", 1)),
        (5, started("b", 1)),
        (5, finished("a", Outcome::Ready, None)),
        (5, finished("b", Outcome::Ready, None)),
    ]);
    assert!(path_of(&events).len() <= 4);
}

#[test]
fn remaining_time_is_told_only_where_an_earlier_run_tells_it() {
    let earlier = serde_json::to_string(&Report::of(&RunModel::of(&good()))).expect("JSON");
    let earlier = Earlier::of(&earlier).expect("a report");
    // 0.69 s for crds, of which 0.39 are over, and 2.99 s for operator, which waits for it.
    let remaining = earlier.remaining(&until(&good(), 600), at(900)).expect("known");
    assert!((remaining - 3.29).abs() < 0.01, "{remaining}");
    assert_eq!(earlier.remaining(&until(&good(), 1_600), at(9_000)), None, "it takes longer than it did");
    assert_eq!(earlier.remaining(&until(&bad(), 900), at(900)), None, "search and shop were never seen");
}

#[test]
fn any_beginning_of_a_run_can_be_shown_at_any_width() {
    for (fails, rehearsal) in [(false, true), (true, false)] {
        let events = sample::events(sample::Shape { layers: 40, fails, rehearsal, seed: 3 }, began());
        let mut model = RunModel::default();
        for (number, event) in events.iter().enumerate() {
            model.take(event);
            for (columns, rows) in [(1, 1), (20, 6), (60, 10), (80, 24), (200, 60)] {
                let frame = live::frame(&model, event.time, Some(3.0), columns, rows);
                assert!(frame.len() < rows.max(2), "{columns}x{rows}");
                assert!(frame.iter().all(|line| line.width() < columns.max(2)), "{columns}x{rows}: {}", text(&frame));
                plain::lines(&model, event, Place::AboveLive, Verbosity::Verbose, Some(columns));
            }
            if number % 9 == 0 || number + 1 == events.len() {
                for columns in [20, 60, 120] {
                    let lines = end::lines(&model, columns, Verbosity::Normal, &[]);
                    assert!(lines.iter().all(|line| line.width() <= columns), "{columns}: {}", text(&lines));
                }
                let report = Report::of(&model);
                markdown::text(&report);
                page::html(&report);
            }
        }
    }
}

#[test]
fn events_in_any_order_and_of_unknown_nodes_are_taken() {
    let mut events = sample::events(sample::Shape { layers: 20, fails: true, rehearsal: true, seed: 5 }, began());
    events.reverse();
    let model = RunModel::of(&events);
    end::lines(&model, 80, Verbosity::Verbose, &[]);
    page::html(&Report::of(&model));
    live::frame(&model, began(), None, 80, 24);
}

#[test]
fn events_are_read_back_as_they_were_written() {
    for event in sample::events(sample::Shape { layers: 20, fails: true, rehearsal: true, seed: 5 }, began()) {
        let line = serde_json::to_string(&event).expect("JSON");
        assert!(!line.contains('\n'));
        let back: Event = serde_json::from_str(&line).expect("an event");
        assert_eq!(serde_json::to_string(&back).expect("JSON"), line);
    }
}

#[test]
fn the_page_asks_nothing_of_the_network_and_escapes_what_servers_say() {
    let mut events = bad();
    events.push(Event {
        time: at(60_820),
        run: "r1".into(),
        happening: Happening::Warning { node: None, message: "<script>alert(1)</script>".into() },
    });
    let html = page::html(&Report::of(&RunModel::of(&events)));
    assert!(
        !html.contains("<script")
            && !html.contains("src=")
            && !html.contains("href=")
            && !html.contains("url(")
            && !html.contains("@import")
    );
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn what_a_server_says_cannot_move_the_cursor() {
    let line = Line::new().add(Tone::Bad, "a\x1b[2Jb\r\nc\u{9b}d");
    assert_eq!(line.render(false), "a[2Jb cd");
}

#[test]
fn a_frame_is_drawn_over_the_last_and_the_cursor_comes_back() {
    let mut out = Vec::new();
    {
        let mut screen = Screen::new(&mut out, false);
        let line = |text: &str| Line::new().add(Tone::Normal, text);
        screen.draw(&[], &[line("one"), line("two, which is long")], 80);
        // Narrower now: the second line takes two rows of 10 columns.
        screen.draw(&[line("stays")], &[line("three")], 10);
        screen.clear(80);
    }
    let out =
        String::from_utf8(out).expect("text").replace('\x1b', "^").replace('\r', "<").replace("^[?2026h", "{").replace("^[?2026l", "}");
    assert_eq!(out, "{^[?25l<one^[K\ntwo, which is long^[K^[J}{<^[2A^[Jstays\nthree^[K^[J}<^[J^[?25h");
}

#[test]
fn text_is_folded_and_cut_by_columns() {
    assert_eq!(fold("a bb ccc dddddddd", 4), ["a bb", "ccc", "dddd", "dddd"]);
    assert_eq!(fold("日本語", 1), ["日", "本", "語"]);
    assert_eq!(Line::new().add(Tone::Normal, "日本語").cut(5).render(false), "日本…");
    assert_eq!(Line::new().add(Tone::Normal, "abc").cut(0).render(false), "");
    assert_eq!(list(["a", "b", "c"], 2), "a, b and 1 more");
}

#[test]
fn times_are_read_at_a_glance() {
    let times = [0.04, 9.96, 59.94, 59.96, 123.0, 3_723.0, -1.0].map(seconds);
    assert_eq!(times, ["0.0s", "10.0s", "59.9s", "1m 00s", "2m 03s", "1h 02m", "0.0s"]);
    assert_eq!([0.9, 61.9].map(clock), ["0s", "1m 01s"]);
}

#[tokio::test]
async fn a_run_is_written_to_events_and_report_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = super::Options {
        mode: super::Mode::Plain,
        verbosity: Verbosity::Quiet,
        events_file: Some(folder.path().join("events.jsonl")),
        report_dir: Some(folder.path().join("deep/report")),
        ..Default::default()
    };
    let (sink, reporter) = super::start(options).expect("files");
    for event in good() {
        sink.send(event).expect("a reader");
    }
    let summary = reporter.finish(None).await;
    assert!(summary.success && summary.errors.is_empty());
    assert_eq!(summary.files.len(), 3);
    let lines = std::fs::read_to_string(folder.path().join("events.jsonl")).expect("events");
    assert_eq!(lines.lines().count(), good().len());
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("deep/report/report.json")).expect("a report")).expect("JSON");
    assert_eq!(report["kind"], "Report");
    assert_eq!(report["readySeconds"], 4.2);
    assert_eq!(report["criticalPath"][1]["node"], "layer/flux-system/operator");
}

#[tokio::test]
async fn finish_ends_although_the_run_never_said_that_it_ended() {
    let options = super::Options { mode: super::Mode::Plain, verbosity: Verbosity::Quiet, ..Default::default() };
    let (sink, reporter) = super::start(options).expect("no files");
    for event in good().into_iter().take(6) {
        sink.send(event).expect("a reader");
    }
    let summary = reporter.finish(None).await;
    assert!(!summary.success);
    assert_eq!(summary.report.layers.len(), 4);
    drop(sink);
}

#[test]
fn a_file_that_cannot_be_opened_is_named_before_anything_is_done() {
    let options = super::Options { events_file: Some("/nowhere/at/all/events.jsonl".into()), ..Default::default() };
    let error = super::start(options).expect_err("no such folder");
    assert_eq!(error.to_string(), "events file /nowhere/at/all/events.jsonl: cannot be written");
}
