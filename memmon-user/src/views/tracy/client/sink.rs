//! Tracy's client library. Its safe API has no memory events, so this is where its C API is called.

use std::ffi::CString;

use tracy_client::{Client, PlotConfiguration, PlotFormat, PlotLineStyle, PlotName, sys};

use super::super::emit::{Emit, NameId, Severity};
use super::Error;

/// A started client. Nothing of it is left when the process ends, which is when it is done.
pub struct Sink {
    client: Client,
    /// Tracy knows a name by its address, and asks for the text whenever it likes: none is ever
    /// freed. How many there are is bounded where they are made.
    names: Vec<Option<Name>>,
}

struct Name {
    text: &'static str,
    pointer: *const std::ffi::c_char,
    plot: Option<PlotName>,
}

impl Sink {
    pub fn start() -> Result<Self, Error> {
        Ok(Self {
            client: Client::start(),
            names: Vec::new(),
        })
    }

    pub fn is_connected(&self) -> bool {
        Client::is_connected()
    }

    pub fn emit(&mut self, emit: Emit) {
        match emit {
            Emit::Name { id, text } => self.name(id, text),
            Emit::Alloc {
                pool,
                pointer,
                size,
            } => {
                if let Some(name) = self.pointer(pool) {
                    let pointer = pointer as *const std::ffi::c_void;
                    // SAFETY: the client runs; the name is a C string that is never freed; the
                    // pointer is a number to Tracy and is not followed.
                    unsafe { sys::___tracy_emit_memory_alloc_named(pointer, size as usize, name) }
                }
            }
            Emit::Free { pool, pointer } => {
                if let Some(name) = self.pointer(pool) {
                    let pointer = pointer as *const std::ffi::c_void;
                    // SAFETY: as above.
                    unsafe { sys::___tracy_emit_memory_free_named(pointer, name) }
                }
            }
            Emit::Plot { plot, bytes } => self.plot(plot, bytes),
            Emit::Message { severity, text } => message(severity, &text),
            Emit::Frame => self.client.frame_mark(),
        }
    }

    /// Everything so far is sent, and the profiler is told that this was all.
    pub fn finish(self) {
        // SAFETY: this is the thread that started the client, and the only one that calls it.
        unsafe { sys::___tracy_shutdown_profiler() }
    }

    fn name(&mut self, id: NameId, text: String) {
        let at = id as usize;
        if self.names.len() <= at {
            self.names.resize_with(at + 1, || None);
        }
        let Ok(owned) = CString::new(text) else {
            return;
        };
        let owned: &'static std::ffi::CStr = Box::leak(owned.into_boxed_c_str());
        self.names[at] = owned.to_str().ok().map(|text| Name {
            text,
            pointer: owned.as_ptr(),
            plot: None,
        });
    }

    fn pointer(&self, id: NameId) -> Option<*const std::ffi::c_char> {
        self.names
            .get(id as usize)?
            .as_ref()
            .map(|name| name.pointer)
    }

    fn plot(&mut self, id: NameId, bytes: i64) {
        let Some(Some(name)) = self.names.get_mut(id as usize) else {
            return;
        };
        let client = &self.client;
        let plot = *name.plot.get_or_insert_with(|| {
            let plot = PlotName::new_leak(name.text.to_owned());
            client.plot_config(plot, configuration());
            plot
        });
        client.plot(plot, bytes as f64);
    }
}

fn message(severity: Severity, text: &str) {
    let (level, color) = match severity {
        Severity::Info => (2, 0x9a_b7_d3),
        Severity::Warning => (3, 0xff_c0_40),
        Severity::Error => (4, 0xff_50_50),
    };
    // SAFETY: the client runs; it copies the text, which need not end in a zero.
    unsafe { sys::___tracy_emit_logString(level, color, 0, text.len(), text.as_ptr().cast()) }
}

fn configuration() -> PlotConfiguration {
    PlotConfiguration::default()
        .format(PlotFormat::Memory)
        .line_style(PlotLineStyle::Stepped)
        .fill(true)
}
