package turn

const visitorCommand = "visit"

func visit([]string) int { return 0 }
