"""What every stage is: a name, what it reads, settings, a function; and the processes its work is spread over."""
