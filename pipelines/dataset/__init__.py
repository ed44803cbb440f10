"""From the message store to training examples: consent, conversations, cleaning, targets, rendering."""
