package obs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFormats(t *testing.T) {
	for format, isJSON := range map[string]bool{"text": false, "json": true, "auto": true, "": true} {
		var out bytes.Buffer
		NewLogger(&out, "info", format).Info("call ended", "call_id", "a b", "code", 200)
		var line map[string]any
		if got := json.Unmarshal(out.Bytes(), &line) == nil; got != isJSON {
			t.Errorf("%q: %s", format, out.String())
		}
		if isJSON && (line["msg"] != "call ended" || line["call_id"] != "a b" || line["code"] != 200.0 || line["level"] != "INFO") {
			t.Errorf("%q: %v", format, line)
		}
		if !isJSON && !strings.Contains(out.String(), `msg="call ended" call_id="a b" code=200`) {
			t.Errorf("%q: %s", format, out.String())
		}
	}
}

func TestLevels(t *testing.T) {
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	for level, lowest := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError, "": slog.LevelInfo,
	} {
		log := NewLogger(&bytes.Buffer{}, level, "json")
		for _, l := range levels {
			if got := log.Enabled(t.Context(), l); got != (l >= lowest) {
				t.Errorf("level %q: %v is written: %v", level, l, got)
			}
		}
	}
}

// TestAutoOnFiles tells a terminal from a regular file.
func TestAutoOnFiles(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	NewLogger(file, "info", "auto").Info("hello")
	text, err := os.ReadFile(file.Name())
	if err != nil || !json.Valid(text) {
		t.Errorf("a file got %q, %v", text, err)
	}

	terminal, out := openTerminal(t)
	NewLogger(terminal, "info", "auto").Info("hello")
	buffer := make([]byte, 256)
	n, err := out.Read(buffer)
	if err != nil || !strings.Contains(string(buffer[:n]), "msg=hello") {
		t.Errorf("a terminal got %q, %v", buffer[:n], err)
	}
}

// openTerminal returns a pseudo-terminal and the end that reads what is written to it.
func openTerminal(t *testing.T) (terminal, out *os.File) {
	t.Helper()
	out, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals on this host: %v", err)
	}
	t.Cleanup(func() { out.Close() })
	if err := unix.IoctlSetPointerInt(int(out.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("unlock a pseudo-terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(number)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("open a pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, out
}
