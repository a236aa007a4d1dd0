"""What the functions of the self-healing event hub share."""
