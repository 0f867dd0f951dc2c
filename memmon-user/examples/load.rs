fn main() -> Result<(), Box<dyn std::error::Error>> {
    let features = memmon::attach::features::Features::detect(None)?;
    println!("{features:?}");
    let (k, _r) = memmon::attach::kernel::Kernel::load(&features, &Default::default())?;
    println!("{:?}", k.counters());
    Ok(())
}
