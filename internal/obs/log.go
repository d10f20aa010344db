// Package obs is what an operator sees of a process: its log and its admin HTTP server with metrics, health and
// whatever else the roles put on it.
package obs

import (
	"io"
	"log/slog"
	"os"
)

// NewLogger returns a logger that writes to w. level is debug, info, warn or error; format is text, json or auto, which
// is text on a terminal and JSON elsewhere. Other words mean info and auto: package conf refuses them where it matters.
//
// Messages are constant; what varies goes into attributes with keys in snake_case.
func NewLogger(w io.Writer, level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: parseLevel(level)}
	if format == "text" || format != "json" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func parseLevel(level string) slog.Level {
	switch level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// isTerminal reports whether w is a character device. That /dev/null is one as well does no harm.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
