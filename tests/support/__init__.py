"""What tests share: real servers, a tiny model."""
