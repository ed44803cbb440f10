"""Does it sound like us? Measures that compare replies with what people here wrote, each with an interval."""
