"""What several tests share: synthetic inputs, small networks, stand-ins for hardware, real servers."""
