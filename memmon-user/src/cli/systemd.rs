//! What a service manager is told (`sd_notify`). Without one nothing is.

use std::time::Duration;

use sd_notify::{NotifyState, notify};

use crate::server::{Daemon, Pulse};

/// How often the status is brought up to date where there is no watchdog.
const USUAL: Duration = Duration::from_secs(60);

pub fn ready(status: &str) {
    let _ = notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn stopping() {
    let _ = notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Says that all is well for as long as the observer answers. Never ends.
pub async fn keep_alive(daemon: &Daemon) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    // Twice as often as asked for, as systemd's manual says.
    let pace = sd_notify::watchdog_enabled().map_or(USUAL, |limit| limit / 2);
    loop {
        tokio::time::sleep(pace).await;
        if let Some(Pulse { clients, processes }) = daemon.pulse().await {
            let status = format!("{processes} processes, {clients} clients");
            let _ = notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        }
    }
}
