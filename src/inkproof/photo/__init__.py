"""From a photo to the digits on it."""
