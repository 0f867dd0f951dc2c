//! The live view: snapshots of a hostile daemon, bytes from a terminal, terminals of any size.
use memmon::views::tui::fuzzing::View;

pub fn run(data: &[u8]) {
    let [settings, rest @ ..] = data else { return };
    let mut view = View::new(*settings);
    for line in rest.split(|byte| *byte == b'\n') {
        match line {
            [b'{', ..] => {
                if let Ok(snapshot) = serde_json::from_slice(line) {
                    view.show(snapshot);
                }
            }
            [b'[', list @ ..] => {
                if let Ok(list) = serde_json::from_slice(list) {
                    view.take(list);
                }
            }
            [b'=', width, height, ..] => view.draw(u16::from(*width) * 2, u16::from(*height)),
            [b'?', text @ ..] => View::filter(&String::from_utf8_lossy(text)),
            typed => view.type_in(typed),
        }
    }
    view.draw(120, 40);
}
