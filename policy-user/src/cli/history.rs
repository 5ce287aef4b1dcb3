//! `smtpfence history`: the policies that have been in force.

use std::io::{self, Write as _};

use hyper::Method;
use serde_json::Value;

use super::{OutputFormat, Places, ago, printed, text};
use crate::agent::history::History;
use crate::control;
use crate::failure::Failure;
use crate::status::InForce;

#[derive(clap::Args)]
pub struct Args {
    /// Print the text of one of them, exactly as it was read; the beginning of its revision is enough.
    #[arg(long, value_name = "REVISION")]
    show: Option<String>,
    #[command(flatten)]
    places: Places,
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(prefix) = &args.show {
        let (_, text) = kept(&args.places, prefix)?;
        // As it is: this is for a file or a pager, and no line of it is ours.
        return printed(io::stdout().write_all(text.as_bytes()));
    }
    let list = list(&args.places)?;
    let shown = match args.format {
        OutputFormat::Json => format!("{list:#}\n"),
        OutputFormat::Human => human(&list),
    };
    printed(io::stdout().write_all(shown.as_bytes()))
}

fn list(places: &Places) -> Result<Value, Failure> {
    if let Some(list) = super::block_on(control::request(&places.control, Method::GET, "/v1/history", None))?
    {
        return Ok(list);
    }
    let in_force = InForce::read(&places.state_dir).map(|in_force| in_force.revision);
    let list = History::at(&places.state_dir).list(in_force.as_deref())?;
    serde_json::to_value(list)
        .map_err(|error| Failure::CouldNotRun(format!("the history is not JSON: {error}")))
}

/// The revision that begins with `prefix`, and its text; from the agent, or from the state directory without one.
pub fn kept(places: &Places, prefix: &str) -> Result<(String, String), Failure> {
    // Anything else is no revision, and would not be one in the path of a request either.
    let plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = format!("/v1/history/{prefix}");
    let answer = match plain {
        true => super::block_on(control::request(&places.control, Method::GET, &path, None))?,
        false => None,
    };
    match answer {
        Some(answer) => {
            let part = |value: &Value| value.as_str().map(str::to_owned);
            part(&answer["kept"]["revision"])
                .zip(part(&answer["text"]))
                .ok_or_else(|| Failure::CouldNotRun("the agent's answer has no text".to_owned()))
        }
        None => History::at(&places.state_dir).find(prefix).map(|(kept, text)| (kept.revision, text)),
    }
}

fn human(list: &Value) -> String {
    let kept = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if kept.is_empty() {
        return "no policy has been in force yet\n".to_owned();
    }
    let mut out =
        format!("  {:<16}  {:<42}  {:<8}  {:<14}  policy\n", "revision", "in force since", "how", "by");
    for kept in kept {
        let mark = if kept["in_force"] == true { '*' } else { ' ' };
        let user = if kept["user"].is_null() { "-".to_owned() } else { text(&kept["user"]) };
        out.push_str(&format!(
            "{mark} {:<16}  {:<42}  {:<8}  {user:<14}  {}\n",
            text(&kept["revision"]),
            ago(&kept["since"]),
            text(&kept["how"]),
            text(&kept["policy"])
        ));
    }
    out + "\n* in force; `smtpfence restore REVISION` goes back to another one\n"
}
