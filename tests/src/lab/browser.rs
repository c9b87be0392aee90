//! A headless Chromium in a namespace, by way of `ChromeDriver` (W3C `WebDriver` over HTTP).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::netns::Netns;

/// Where `ChromeDriver` listens, in the namespace.
const PORT: u16 = 9515;

/// How long a command may take: the first one starts the browser.
const LIMIT: Duration = Duration::from_secs(60);

/// Nothing but the page: no network of its own, no first-run questions.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
];

/// A browser with one page; ended when dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    connection: BufReader<TcpStream>,
    session: String,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width in CSS pixels.
    pub width: u32,
    /// Height in CSS pixels.
    pub height: u32,
    /// `prefers-color-scheme`.
    pub scheme: &'static str,
}

impl Browser {
    /// Starts it in `netns` with an empty profile in `directory`, where its log goes too.
    ///
    /// # Errors
    /// When `ChromeDriver` or Chromium is missing (Debian: chromium-driver) or does not start.
    pub fn start(netns: &Netns, directory: &Path) -> Result<Self> {
        let log = directory.join("chromedriver.log");
        let mut driver = netns
            .command("chromedriver")
            .arg(format!("--port={PORT}"))
            .stdin(Stdio::null())
            .stdout(File::create(&log).context("can't write the log of chromedriver")?)
            .stderr(Stdio::null())
            .spawn()
            .context("can't start chromedriver (Debian: chromium-driver)")?;
        let start = Instant::now();
        let connection = loop {
            match netns.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)))? {
                Ok(connection) => break connection,
                Err(error) if start.elapsed() > LIMIT => {
                    let _ = driver.kill();
                    let _ = driver.wait();
                    return Err(error).context("chromedriver does not listen");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        connection.set_read_timeout(Some(LIMIT))?;
        let mut browser = Self {
            driver,
            connection: BufReader::new(connection),
            session: String::new(),
        };
        let profile = format!("--user-data-dir={}", directory.join("chromium").display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": flags },
        } } });
        let session = browser.call("POST", "/session", &capabilities)?;
        let id = session["sessionId"]
            .as_str()
            .context("a session without an id")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When it can't be loaded.
    pub fn open(&mut self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// What a script, the body of a function, returns in the page.
    ///
    /// # Errors
    /// When the script throws.
    pub fn evaluate(&mut self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What the page has complained about: scripts that failed, things that the policy refused.
    ///
    /// # Errors
    /// When the browser does not tell.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe = entries
            .into_iter()
            .filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.map(|entry| entry["message"].to_string()).collect())
    }

    /// Looks at the page in another way from now on.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn look(&mut self, look: Look) -> Result<()> {
        let Look {
            width,
            height,
            scheme,
        } = look;
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)?;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media)
            .map(drop)
    }

    /// A picture of what is seen of the page, as PNG.
    ///
    /// # Errors
    /// When the browser can't make one.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let picture = self.devtools("Page.captureScreenshot", &json!({ "format": "png" }))?;
        let data = picture["data"].as_str().context("a picture without data")?;
        BASE64
            .decode(data)
            .context("a picture that is not in base64")
    }

    fn devtools(&mut self, command: &str, parameters: &Value) -> Result<Value> {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let path = format!("{}{path}", self.session);
        self.call("POST", &path, body)
    }

    fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        write!(
            self.connection.get_mut(),
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{PORT}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .context("can't speak with chromedriver")?;
        let mut length = None;
        loop {
            let mut line = String::new();
            let read = self.connection.read_line(&mut line);
            ensure!(
                read.context("chromedriver does not answer")? > 0,
                "chromedriver has gone"
            );
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(
                    value
                        .trim()
                        .parse::<usize>()
                        .context("a length that is none")?,
                );
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length.context("an answer of chromedriver without a length")?];
        self.connection
            .read_exact(&mut answer)
            .context("half an answer of chromedriver")?;
        let mut answer: Value =
            serde_json::from_slice(&answer).context("an answer that is no JSON")?;
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            bail!("{path}: {error}: {}", value["message"]);
        }
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let session = self.session.clone();
        // Ends Chromium; what does not go by itself goes with the namespace.
        let _ = self.call("DELETE", &session, &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
