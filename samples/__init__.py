"""Programs that show what refusion is for."""
