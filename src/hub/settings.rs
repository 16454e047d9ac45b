//! Settings of the Hub from the environment, by the variables of Hugging Face's own tools.
//!
//! | variable | meaning |
//! |---|---|
//! | `HF_ENDPOINT` | the Hub's address; `https://huggingface.co` |
//! | `HF_TOKEN` | the token; by default from the file `HF_TOKEN_PATH`, else `token` in `HF_HOME` |
//! | `HF_HUB_CACHE` | the cache folder; else `HUGGINGFACE_HUB_CACHE`, its older name, else `hub` in `HF_HOME` |
//! | `HF_HOME` | by default `huggingface` in `XDG_CACHE_HOME`, else in `~/.cache` |
//! | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: the network is never used |
//! | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds without a byte until a server counts as stalled; 30 |
//!
//! The first five work as in `huggingface_hub`'s documentation; hf-hub itself reads only
//! `HF_ENDPOINT` and `HF_HOME`. `~` and `$NAME` in a path are expanded.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::expand::{expanded, home_in_passwd};
use crate::error::{Fault, Result};

const ENDPOINT: &str = "https://huggingface.co";
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// How the Hub is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Hub's address, without a slash at its end.
    pub endpoint: String,
    pub token: Option<Token>,
    /// The cache folder.
    pub cache: PathBuf,
    /// Whether the network must not be used.
    pub offline: bool,
    /// Time without a byte until a server counts as stalled.
    pub stalled_after: Duration,
    /// Wait before the second attempt; it doubles before each further one.
    pub back_off: Duration,
}

/// A secret and where it was found. The secret is never shown.
#[derive(Clone)]
pub struct Token {
    pub secret: String,
    pub source: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Token(from {})", self.source)
    }
}

impl Settings {
    /// The settings of this process's environment. Errors name the variable.
    pub fn from_env() -> Result<Settings> {
        // A value that is not UTF-8 must not count as unset. It gives an error where it is used.
        let text = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        Settings::from_variables(&text)
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings> {
        let any = variable;
        // An empty variable counts as unset, as in Hugging Face's tools.
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let user = variable("HOME").map(PathBuf::from);
        let folder = |name: &str| Some(PathBuf::from(expanded(&variable(name)?, any, &home_of)));
        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(user.as_ref()?.join(".cache/huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")));
        let Some(cache) = cache else {
            return Err(Fault::new("there is no folder for the Hub's files")
                .expected("HF_HUB_CACHE, HF_HOME or HOME set to a folder")
                .into());
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let endpoint = endpoint.trim().trim_end_matches('/').to_string();
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        // Errors show the address, so it must not hold a password.
        if host.is_some_and(|h| h.contains('@')) {
            return Err(Fault::new("the address contains a user name")
                .within("HF_ENDPOINT")
                .expected("an address without one; put the token in HF_TOKEN")
                .into());
        }
        if host.is_none_or(|h| h.is_empty() || h.contains(|c: char| !c.is_ascii_graphic())) {
            return Err(Fault::new("not an address")
                .within("HF_ENDPOINT")
                .found(format!("`{endpoint}`"))
                .expected(format!("an address as {ENDPOINT}"))
                .into());
        }
        Ok(Settings {
            endpoint,
            token: token(&variable, home, folder("HF_TOKEN_PATH"))?,
            cache,
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            stalled_after: stalled_after(variable("HF_HUB_DOWNLOAD_TIMEOUT"))?,
            back_off: Duration::from_millis(500),
        })
    }
}

/// The home folder of a user of this machine.
pub fn home_of(user: &str) -> Option<String> {
    home_in_passwd(&fs::read_to_string("/etc/passwd").ok()?, user)
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.trim().to_lowercase().as_str())
}

fn stalled_after(value: Option<String>) -> Result<Duration> {
    let Some(value) = value else { return Ok(STALLED_AFTER) };
    match value.trim().parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(Fault::new("not a time")
            .within("HF_HUB_DOWNLOAD_TIMEOUT")
            .found(format!("`{value}`"))
            .expected("seconds, 0.1 to 86400")
            .into()),
    }
}

fn token(
    variable: &dyn Fn(&str) -> Option<String>,
    home: Option<PathBuf>,
    path: Option<PathBuf>,
) -> Result<Option<Token>> {
    let (secret, source) = match variable("HF_TOKEN") {
        Some(secret) => (secret, "HF_TOKEN".to_string()),
        None => {
            // `hf auth login` writes this file.
            let file = path.or_else(|| Some(home?.join("token")));
            let Some(file) = file else { return Ok(None) };
            let Ok(secret) = fs::read_to_string(&file) else { return Ok(None) };
            (secret, file.display().to_string())
        }
    };
    let secret = secret.trim().to_string();
    if secret.is_empty() {
        return Ok(None);
    }
    // The error does not show the secret, since users paste errors into issues.
    if secret.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(Fault::new("the token cannot be sent")
            .source(source)
            .found("characters other than printable ASCII")
            .expected("a token as hf_…, on one line")
            .into());
    }
    Ok(Some(Token { secret, source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Settings::from_variables(&move |name| {
            pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn the_cache_folder_is_that_of_hugging_faces_tools() {
        let cache = |pairs: &[(&str, &str)]| read(pairs).unwrap().cache.display().to_string();
        let all = [
            ("HOME", "/u"),
            ("XDG_CACHE_HOME", "/x"),
            ("HF_HOME", "~/hf"),
            ("HUGGINGFACE_HUB_CACHE", "/old"),
            ("HF_HUB_CACHE", "/new"),
        ];
        let expected =
            ["/u/.cache/huggingface/hub", "/x/huggingface/hub", "/u/hf/hub", "/old", "/new"];
        for (n, expected) in expected.iter().enumerate() {
            assert_eq!(cache(&all[..=n]), *expected);
        }
        let expanded = [("HOME", "/u"), ("XDG_CACHE_HOME", "$HOME/c")];
        assert_eq!(cache(&expanded), "/u/c/huggingface/hub");
        let expanded =
            [("HOME", "/u"), ("HF_HOME", "${HOME}/hf"), ("HF_HUB_CACHE", "~/x/$HF_HOME")];
        assert_eq!(cache(&expanded[..2]), "/u/hf/hub");
        assert_eq!(cache(&expanded), "/u/x/${HOME}/hf");
        assert!(read(&[]).unwrap_err().to_string().contains("HF_HUB_CACHE"));
    }

    #[test]
    fn errors_name_the_variable_and_hide_the_secret() {
        let home = ("HOME", "/nowhere");
        let error = |key, value| read(&[home, (key, value)]).unwrap_err().to_string();
        for bad in ["huggingface.co", "ftp://x", "https://", "https://a b"] {
            assert!(error("HF_ENDPOINT", bad).starts_with("HF_ENDPOINT: not an address"), "{bad}");
        }
        let secret = error("HF_ENDPOINT", "https://me:hush@hub.example");
        assert!(secret.contains("HF_TOKEN") && !secret.contains("hush"), "{secret}");
        for bad in ["soon", "-1", "0", "1e9", "NaN"] {
            assert!(error("HF_HUB_DOWNLOAD_TIMEOUT", bad).contains("not a time"), "{bad}");
        }
        let token = error("HF_TOKEN", "hf_se cret");
        assert!(token.starts_with("HF_TOKEN:") && !token.contains("cret"), "{token}");
        let read = read(&[home, ("HF_TOKEN", " hf_secret\n"), ("HF_ENDPOINT", "http://a:1/")]);
        let read = read.unwrap();
        assert_eq!(read.endpoint, "http://a:1");
        assert_eq!(read.token.as_ref().unwrap().secret, "hf_secret");
        assert!(!format!("{read:?}").contains("hf_secret"));
        assert!(!read.offline);
    }

    #[test]
    fn offline_takes_the_same_values_as_hugging_faces_tools() {
        let offline = |v| read(&[("HOME", "/u"), ("HF_HUB_OFFLINE", v)]).unwrap().offline;
        assert!(["1", "TRUE", "yes", "On"].into_iter().all(offline));
        assert!(!["0", "false", "", " "].into_iter().any(offline));
    }
}
