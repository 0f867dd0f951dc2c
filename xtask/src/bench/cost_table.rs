//! The costs as a table: every row compared with nobody, and with empty probes at the same points.

use super::{
    cost::{Cost, Who},
    median,
};

pub fn print(costs: &[Cost], raw: bool) {
    println!();
    println!(
        "{:<40} {:<14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "nanoseconds of processor time, medians",
        "observed by",
        "ns",
        "x nobody",
        "ns added",
        "ns a hit",
        "x empty's"
    );
    for cost in costs {
        let of = |who| {
            let found = cost.turns.iter().find(|(known, _)| *known == who);
            found.and_then(|(_, turns)| turns.as_deref().ok().map(median))
        };
        let nobody = of(Who::Nobody).unwrap_or_default();
        let floor = of(Who::Empty).unwrap_or_default() - nobody;
        for (index, (who, turns)) in cost.turns.iter().enumerate() {
            let label = if index == 0 {
                format!("{}: {}", cost.subject, cost.work.name)
            } else {
                String::new()
            };
            print!("{label:<40} {:<14}", who.name());
            match turns {
                Err(why) => println!(" not run: {}", why.lines().next().unwrap_or_default()),
                Ok(turns) => {
                    let ns = median(turns);
                    print!(" {ns:>9.0} {:>9.2}", ns / nobody);
                    let added = ns - nobody;
                    match who {
                        Who::Nobody => println!(),
                        // Its probes are others, and not as many.
                        Who::Memleak => println!(" {added:>9.0}"),
                        _ => println!(
                            " {added:>9.0} {:>9.0} {:>9.2}",
                            added / cost.hits,
                            added / floor
                        ),
                    }
                }
            }
        }
        println!(
            "{:<40} {:.2} hits, {:.0} ns of each inside memmon's program",
            "", cost.hits, cost.inside
        );
    }
    let not_run = costs
        .iter()
        .flat_map(|cost| &cost.turns)
        .filter(|(_, turns)| turns.is_err())
        .count();
    if not_run > 0 {
        println!("{not_run} rows were NOT RUN");
    }
    if raw {
        print_turns(costs);
    }
}

fn print_turns(costs: &[Cost]) {
    println!();
    for cost in costs {
        for (who, turns) in &cost.turns {
            let Ok(turns) = turns else { continue };
            let turns: Vec<String> = turns.iter().map(|ns| format!("{ns:.0}")).collect();
            println!(
                "{}: {}: {}: {}",
                cost.subject,
                cost.work.name,
                who.name(),
                turns.join(" ")
            );
        }
    }
}
