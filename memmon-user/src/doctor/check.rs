//! What a check finds.

use serde::Serialize;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// What the kernel can do, and what its settings allow.
    Kernel,
    /// What this process may do.
    Rights,
    /// Whether it really works.
    Trial,
    /// What there is to observe.
    Found,
}

impl Area {
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Rights, Self::Trial, Self::Found];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Rights => "rights",
            Self::Trial => "trial",
            Self::Found => "found",
        }
    }

    /// Nothing to complain about.
    pub fn ok(self, name: &'static str, finding: impl Into<String>) -> Check {
        Check {
            area: self,
            name,
            state: State::Ok,
            finding: finding.into(),
            advice: None,
        }
    }

    pub fn finds(
        self,
        name: &'static str,
        state: State,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) -> Check {
        Check {
            state,
            advice: Some(advice.into()),
            ..self.ok(name, finding)
        }
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// memmon works, but slower, or not for everything.
    Limited,
    /// Could not be looked at.
    Unchecked,
    /// memmon cannot work: rights are missing.
    NotPermitted,
    /// memmon cannot work: something else is missing.
    Failed,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub area: Area,
    #[serde(rename = "check")]
    pub name: &'static str,
    pub state: State,
    pub finding: String,
    /// What to do about it.
    pub advice: Option<String>,
}
