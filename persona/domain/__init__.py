"""What the persona is and decides: pure, without I/O, clock or chance of its own."""
