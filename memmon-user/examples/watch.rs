fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut w = memmon::discover::watch::MappingWatch::open()?;
    println!("{:?}", w.fds());
    std::process::Command::new("/bin/true").status()?;
    println!("{:?}", w.take());
    Ok(())
}
