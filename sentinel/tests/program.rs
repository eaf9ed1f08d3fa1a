//! The program itself: exit codes, one line for what is wrong, the health check, an orderly end.

mod common;

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

use common::{eventually, free_port, resp::Client};
use tercet_proto::resp::Value;

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet-sentinel"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// For what ends by itself; a sentinel that starts instead is stopped.
fn run(args: &[&str]) -> Output {
    let mut running = Running(program(args).spawn().expect("the program starts"));
    eventually("it ends", || running.0.try_wait().expect("a child can be waited for"));
    let mut output = Output { status: running.0.wait().expect("it has ended"), stdout: Vec::new(), stderr: Vec::new() };
    let (out, err) = (running.0.stdout.take(), running.0.stderr.take());
    out.expect("piped").read_to_end(&mut output.stdout).expect("its output can be read");
    err.expect("piped").read_to_end(&mut output.stderr).expect("its output can be read");
    output
}

/// Ended in any case when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_wrong_flag_or_a_taken_port_is_one_line_and_exit_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases: [(&[&str], &str); 3] = [
        (&["--nonsense"], "tercet-sentinel: unexpected argument '--nonsense' found; see tercet-sentinel --help\n"),
        (&["--peer-port", "x"], "tercet-sentinel: --peer-port: \"x\" is no port; give a number from 0 to 65535\n"),
        (
            &["--config", "/nowhere"],
            "tercet-sentinel: --config /nowhere: No such file or directory (os error 2); give a TOML file that can be read\n",
        ),
    ];
    for (args, text) in cases {
        let output = run(args);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(2), text));
    }
    let output = run(&["--peer-port", &port]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port}")) && text.lines().count() == 1, "{text}");
}

#[test]
fn a_sentinel_is_healthy_from_its_start_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (resp_port, peer_port) = (free_port(), free_port());
    let (resp, peer) = (resp_port.to_string(), peer_port.to_string());
    let data = directory.path().join("data");
    let args = [
        "--data",
        data.to_str().unwrap(),
        "--resp-port",
        &resp,
        "--peer-port",
        &peer,
        "--metrics-port",
        "0",
        "--requirepass",
        "secret",
    ];
    let health = ["healthcheck", "--resp-port", &resp, "--requirepass", "secret"];
    assert_eq!(run(&health).status.code(), Some(1));
    let mut running = Running(program(&args).spawn().unwrap());
    eventually("the health check succeeds", || run(&health).status.success().then_some(()));
    let wrong = run(&["healthcheck", "--resp-port", &resp, "--requirepass", "wrong"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("WRONGPASS"));
    let mut client = Client::connect(resp_port);
    assert_eq!(client.command(&["AUTH", "secret"]), Value::Simple("OK".into()));
    client.send(&Value::command(&["SHUTDOWN"]));
    assert_eq!(client.read_to_end(), b"", "a shutdown that succeeds is not answered");
    let status = eventually("it ends", || running.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_data_directory_is_not_lent_to_another_sentinel() {
    let mut cluster = common::Cluster::start(3, 1);
    cluster.sentinels[0].kill();
    cluster.sentinels[1].kill();
    let data = cluster.sentinels[0].data.display().to_string();
    let mut args = cluster.sentinels[1].args.clone();
    let at = args.iter().position(|arg| arg == "--data").unwrap() + 1;
    args[at] = data;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // The files of the one that was stopped may be open for a moment more.
    let text = eventually("it says whose they are", || {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (!text.contains("is another sentinel using it?")).then_some(text)
    });
    let (first, second) = (cluster.sentinels[0].peer_port, cluster.sentinels[1].peer_port);
    let expected = format!(
        "tercet-sentinel: this data directory belongs to the sentinel s1 at 127.0.0.1:{first}, and 127.0.0.1:{second} is \
         the address of s2; give each sentinel its own --data\n"
    );
    assert_eq!(text, expected);
}
