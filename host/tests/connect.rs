//! Region, endpoint and credentials from flags, environment and profiles.
//!
//! A process has only one environment, so each case runs this program again as a child process, with the flags and the
//! environment of the case. The child connects, sends one request and prints the result.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use kinesis_reader::cli::args::Args;
use kinesis_reader::cli::plan::{Environment, Job};
use kinesis_reader::terminal::clean;
use kinesis_reader::transport::{Body, Kinesis, Request, Transport};
use tracing_subscriber::filter::LevelFilter;

const CHILD: &str = "KINESIS_READER_TEST_CHILD";

/// A test and its name.
type Named = (&'static str, fn(&Fixture));

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let tests: &[Named] = &[
        ("the region is found as by the AWS command line", regions),
        ("the endpoint is found as by the AWS command line", endpoints),
        ("credentials are found in every place", credentials),
        ("every error has a hint", errors),
    ];
    for (name, test) in tests {
        test(&Fixture::new());
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn regions(fixture: &Fixture) {
    let profile = ("AWS_PROFILE", "frankfurt");
    for (flags, env, region) in [
        ("--region eu-west-1", &[("AWS_REGION", "us-west-1"), profile][..], "eu-west-1"),
        ("", &[("AWS_REGION", "us-west-1"), ("AWS_DEFAULT_REGION", "us-west-2"), profile], "us-west-1"),
        ("", &[("AWS_DEFAULT_REGION", "us-west-2"), profile], "us-west-2"),
        ("", &[profile], "eu-central-1"),
        ("--profile frankfurt", &[], "eu-central-1"),
        ("--profile frankfurt", &[("AWS_REGION", "us-west-1")], "us-west-1"),
        ("", &[], "ap-south-1"),
    ] {
        let printed = fixture.run(&format!("shards x {flags}"), env);
        assert_eq!(
            printed.first_line(),
            format!("{region} http://{}/", fixture.server),
            "{flags} {env:?}: {printed:?}"
        );
    }
    let printed =
        fixture.run("shards arn:aws:kinesis:ca-west-1:123456789012:stream/x", &[("AWS_REGION", "us-west-1"), profile]);
    assert_eq!(printed.first_line(), format!("ca-west-1 http://{}/", fixture.server), "{printed:?}");
}

fn endpoints(fixture: &Fixture) {
    let (general, kinesis) =
        (("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:2"));
    let none = ("AWS_ENDPOINT_URL", "");
    for (flags, env, endpoint) in [
        ("--endpoint-url http://127.0.0.1:9", &[general, kinesis][..], "http://127.0.0.1:9/"),
        ("", &[general, kinesis], "http://127.0.0.1:2/"),
        ("", &[general], "http://127.0.0.1:1/"),
        ("--profile sections", &[general], "http://127.0.0.1:1/"),
        ("--profile sections", &[none], "http://127.0.0.1:3/"),
        ("--profile url", &[none], "http://127.0.0.1:4/"),
        (
            "",
            &[general, kinesis, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
            "https://kinesis.ap-south-1.amazonaws.com/",
        ),
        ("", &[none], "https://kinesis.ap-south-1.amazonaws.com/"),
        (
            "--region cn-north-1",
            &[none, ("AWS_USE_DUALSTACK_ENDPOINT", "true")],
            "https://kinesis.cn-north-1.api.amazonwebservices.com.cn/",
        ),
        ("", &[none, ("AWS_USE_FIPS_ENDPOINT", "true")], "https://kinesis-fips.ap-south-1.amazonaws.com/"),
    ] {
        let env = [env, &[("ONLY_CONNECT", "1")]].concat();
        let printed = fixture.run(&format!("shards x {flags}"), &env);
        assert!(printed.first_line().ends_with(endpoint), "{flags} {env:?}: {printed:?}");
    }
}

fn credentials(fixture: &Fixture) {
    let url = |path: &str| format!("http://{}{path}", fixture.server);
    let container = url("/container");
    let sts = url("/sts");
    let no_keys = &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let token_file = fixture.directory.join("token").display().to_string();
    for (flags, env, key) in [
        ("", &[][..], "KEYENV"),
        ("", &[no_keys[0], no_keys[1]], "KEYDEFAULT"),
        // A profile that is chosen by name takes precedence over keys in the environment.
        ("--profile frankfurt", &[], "KEYFRANKFURT"),
        ("--profile process", &[], "KEYPROCESS"),
        ("--profile bare", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*container)], "KEYCONTAINER"),
        ("--profile role", &[("AWS_ENDPOINT_URL_STS", &*sts)], "KEYROLE"),
        ("--role-arn arn:aws:iam::123456789012:role/r", &[("AWS_ENDPOINT_URL_STS", &*sts)], "KEYROLE"),
        (
            "",
            &[
                no_keys[0],
                no_keys[1],
                ("AWS_PROFILE", "bare"),
                ("AWS_ENDPOINT_URL_STS", &*sts),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &*token_file),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r"),
            ],
            "KEYWEB",
        ),
    ] {
        let printed = fixture.run(&format!("shards x {flags}"), env);
        assert_eq!(printed.text.lines().last(), Some("status 200"), "{flags} {env:?}: {printed:?}");
        let signed = fixture.seen.lock().unwrap().last().cloned().unwrap();
        assert!(signed.contains(&format!("Credential={key}/")), "{flags} {env:?}: {signed}");
    }
}

#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn errors(fixture: &Fixture) {
    let no_keys = &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let bad = fixture.file("bad");
    let instance = ("AWS_EC2_METADATA_DISABLED", "false");
    for (flags, env, words, is_usage_error) in [
        ("--profile nobody", &[][..], "no such profile: nobody", true),
        ("", &[("AWS_PROFILE", "nobody")], "no such profile: nobody", true),
        (
            "",
            &[("AWS_CONFIG_FILE", &*bad)],
            "cannot read AWS profiles: could not parse profile file: error parsing",
            true,
        ),
        ("--profile bare", &[], "no AWS credentials were found", false),
        (
            "--profile bare",
            &[instance, ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*format!("http://{}/denied", fixture.server))],
            "no AWS credentials were found",
            false,
        ),
        ("", &[no_keys[0], no_keys[1], ("AWS_PROFILE", "bare")], "no AWS credentials were found", false),
        ("", &[("AWS_CONFIG_FILE", "/nowhere")], "no region is set", true),
        ("--region us_east", &[], "invalid region: us_east", true),
        ("--endpoint-url localhost:4567", &[], "invalid endpoint URL: localhost:4567", true),
        ("", &[("AWS_ENDPOINT_URL", "ftp://x")], "invalid endpoint URL: ftp://x", true),
        (
            "",
            &[("AWS_CA_BUNDLE", "/nowhere.pem"), ("AWS_ENDPOINT_URL", "https://127.0.0.1:1")],
            "cannot read certificates: /nowhere.pem",
            true,
        ),
        (
            "--profile broken-process",
            &[],
            "cannot load AWS credentials: the credential process failed: exit status: 1",
            false,
        ),
        // Output of processes and services is shown without credentials and without escape sequences.
        (
            "--profile loud-process",
            &[],
            "process failed: exit status: 3: \\u{1b}[31mthe token\\u{202e} is expired",
            false,
        ),
        (
            "--profile leaking-process",
            &[],
            "exit status: 3: its output is not shown because it may contain credentials",
            false,
        ),
        ("--profile torn-process", &[], "could not parse response: invalid JSON", false),
        ("--profile endless-process", &[], "xxx… (", false),
        ("", &[("AWS_CONFIG_FILE", &*fixture.file("no-section"))], "cannot read AWS profiles: ", true),
        ("", &[("AWS_CONFIG_FILE", &*fixture.file("no-equals"))], "cannot read AWS profiles: ", true),
        (
            "--profile url-with-password",
            &[("AWS_ENDPOINT_URL", "")],
            "invalid endpoint URL: http://***@127.0.0.1/ ",
            true,
        ),
        (
            "--endpoint-url user:MARKED@127.0.0.1:1",
            &[],
            "invalid endpoint URL: ***@127.0.0.1:1 (it has no scheme",
            true,
        ),
        ("", &[("AWS_ENDPOINT_URL", "http:/user:MARKED@127.0.0.1:1")], "invalid endpoint URL: ***@127.0.0.1:1 (", true),
        ("", &[("AWS_ENDPOINT_URL", "http://user:MARKED")], "invalid endpoint URL: http://user:*** (its port", true),
        (
            "--role-arn arn:aws:iam::123456789012:role/hostile",
            &[("AWS_ENDPOINT_URL_STS", &*format!("http://user:MARKED@{}/hostile", fixture.server))],
            "no \\u{202e}of\\u{200b}\\r\\nMARK",
            false,
        ),
        (
            "--profile bare",
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*format!("http://{}/endless", fixture.server))],
            "the response is larger than 64 KiB: 127.0.0.1",
            false,
        ),
        (
            "--role-arn arn:aws:iam::123456789012:role/denied",
            &[("AWS_ENDPOINT_URL_STS", &*format!("http://{}/denied", fixture.server))],
            "is not authorized to perform: sts:AssumeRole",
            false,
        ),
    ] {
        let printed = fixture.run(&format!("shards x {flags}"), env);
        assert!(printed.first_line().contains(words), "{flags} {env:?}: {printed:?}");
        assert!(printed.text.lines().nth(1).is_some_and(|hint| hint.starts_with("hint: ")), "{printed:?}");
        assert_eq!(printed.code, if is_usage_error { 2 } else { 1 }, "{printed:?}");
        let cleaned = printed.text.lines().map(|line| format!("{}\n", clean(line))).collect::<String>();
        assert_eq!(printed.text, cleaned);
        assert!(printed.seconds < 8.0, "{flags}: {printed:?}");
    }
}

// ------------------------------------------------------------------- child ---

#[tokio::main]
async fn child() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::stderr).init();
    let args = Args::parse_from(std::env::args());
    let job = Job::new(args, &Environment::read()).unwrap();
    let Job::Shards(plan) = job else { panic!("not shards") };
    let kinesis = match Kinesis::connect(&plan.aws).await {
        Ok(kinesis) => kinesis,
        Err(error) => {
            println!("{error}\nhint: {}", error.hint().unwrap());
            return ExitCode::from(if error.is_usage_error() { 2 } else { 1 });
        }
    };
    println!("{} {}", kinesis.endpoint().region(), kinesis.endpoint());
    if std::env::var_os("ONLY_CONNECT").is_none() {
        let request = Request {
            target: "Kinesis_20131202.ListShards".to_owned(),
            body: Body::Json("{}".to_owned()),
            timeout: Duration::from_secs(10),
        };
        println!("status {}", kinesis.send(request).await.unwrap().status);
    }
    ExitCode::SUCCESS
}

// ----------------------------------------------------------------- fixture ---

/// A home directory with profiles, and a server that acts as Kinesis, STS and the container agent.
struct Fixture {
    directory: PathBuf,
    server: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

const CONFIG: &str = "\
[default]
region = ap-south-1
[profile frankfurt]
region = eu-central-1
[profile bare]
region = eu-central-1
[profile sections]
region = eu-central-1
services = local
endpoint_url = http://127.0.0.1:4
credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"KEYPROCESS\",\"SecretAccessKey\":\"MARKED-PROCESS\"}'
[services local]
kinesis =
  endpoint_url = http://127.0.0.1:3
[profile url]
region = eu-central-1
endpoint_url = http://127.0.0.1:4
credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"KEYPROCESS\",\"SecretAccessKey\":\"MARKED-PROCESS\"}'
[profile process]
region = eu-central-1
credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"KEYPROCESS\",\"SecretAccessKey\":\"MARKED-PROCESS\"}'
[profile broken-process]
region = eu-central-1
credential_process = false
[profile loud-process]
region = eu-central-1
credential_process = printf '\\033[31mthe token\\342\\200\\256 is\\n expired' >&2; exit 3
[profile leaking-process]
region = eu-central-1
credential_process = echo '{\"Version\":1,\"SecretAccessKey\":\"MARKED\"}' >&2; exit 3
[profile torn-process]
region = eu-central-1
credential_process = echo '{\"Version\":1,\"SecretAccessKey\":\"MARKED'
[profile endless-process]
region = eu-central-1
credential_process = head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3
[profile url-with-password]
region = eu-central-1
endpoint_url = http://user:MARKED@127.0.0.1/
[profile role]
region = eu-central-1
role_arn = arn:aws:iam::123456789012:role/r
source_profile = frankfurt
";

const CREDENTIALS: &str = "\
[default]
aws_access_key_id = KEYDEFAULT
aws_secret_access_key = MARKED-DEFAULT
[frankfurt]
aws_access_key_id = KEYFRANKFURT
aws_secret_access_key = MARKED-FRANKFURT
";

#[derive(Debug)]
struct Printed {
    text: String,
    code: i32,
    seconds: f64,
}

impl Printed {
    fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

impl Fixture {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("kinesis-reader-connect-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in [
            ("config", CONFIG),
            ("credentials", CREDENTIALS),
            ("token", "MARKED-TOKEN"),
            ("bad", "[profile x"),
            ("no-section", "aws_secret_access_key = MARKED\n[default]\n"),
            ("no-equals", "[default]\naws_access_key_id = KEY\naws_secret_access_key MARKED\n"),
        ] {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let seen = seen.clone();
            move || serve(&listener, &seen)
        });
        Self { directory, server, seen }
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn run(&self, line: &str, env: &[(&str, &str)]) -> Printed {
        let file = |name: &str| self.file(name);
        let mut all = BTreeMap::from([
            (CHILD, "1".to_owned()),
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", self.directory.display().to_string()),
            ("AWS_CONFIG_FILE", file("config")),
            ("AWS_SHARED_CREDENTIALS_FILE", file("credentials")),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "KEYENV".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "MARKED-ENV".to_owned()),
            ("AWS_ENDPOINT_URL_KINESIS", format!("http://{}", self.server)),
        ]);
        if env.iter().any(|(name, _)| *name == "AWS_ENDPOINT_URL") {
            all.remove("AWS_ENDPOINT_URL_KINESIS");
        }
        all.extend(env.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all.retain(|_, value| !value.is_empty());
        let started = std::time::Instant::now();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(line.split_whitespace())
            .env_clear()
            .envs(all)
            .output()
            .unwrap();
        let (out, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        for line in log.lines().filter(|line| line.contains("kinesis_reader")).chain(out.lines()) {
            assert!(!line.contains("MARKED"), "{line}");
        }
        Printed {
            text: out,
            code: output.status.code().unwrap_or_else(|| panic!("{log}")),
            seconds: started.elapsed().as_secs_f64(),
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn serve(listener: &TcpListener, seen: &Mutex<Vec<String>>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !is_whole(&request) {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(length) => request.extend_from_slice(&piece[..length]),
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let keys = |key: &str| {
            format!(
                "<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>MARKED-STS</SecretAccessKey>\
                 <SessionToken>MARKED-SESSION</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
            )
        };
        let (status, body) = if request.starts_with("GET /container ") {
            ("200 OK", r#"{"AccessKeyId":"KEYCONTAINER","SecretAccessKey":"MARKED-CONTAINER","Token":"MARKED-CONTAINER-TOKEN","Expiration":"2099-01-01T00:00:00Z"}"#.to_owned())
        } else if request.starts_with("GET /endless ") {
            ("200 OK", " ".repeat(1 << 20))
        } else if request.contains(" /hostile") {
            ("403 Forbidden", "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no \u{202e}of\u{200b}\r\nMARK</Message></Error></ErrorResponse>".to_owned())
        } else if request.contains(" /denied") {
            ("403 Forbidden", "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: u is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>".to_owned())
        } else if request.contains("Action=AssumeRoleWithWebIdentity") {
            (
                "200 OK",
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>{}</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
                    keys("KEYWEB")
                ),
            )
        } else if request.contains("Action=AssumeRole") {
            (
                "200 OK",
                format!(
                    "<AssumeRoleResponse><AssumeRoleResult>{}</AssumeRoleResult></AssumeRoleResponse>",
                    keys("KEYROLE")
                ),
            )
        } else {
            seen.lock().unwrap().push(request);
            ("200 OK", "{}".to_owned())
        };
        let _ =
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok()).unwrap_or(0);
    body.len() >= length
}
