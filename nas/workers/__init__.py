"""What trains, and the messages between it and the coordinator."""
