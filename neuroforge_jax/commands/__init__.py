"""What the commands share: flags, config files, and how a mistake ends a process."""
