package srtp

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"causeway/test/rig"
)

// binaries are the causeway under test, built once.
var binaries rig.Binaries

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	rig.WaitTogether()
	// The SIP library of the in-process telephones warns by the global logger about its own reference counts.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "causeway-srtp-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "srtp:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binaries, err = rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "srtp: build causeway:", err)
		return 1
	}
	return m.Run()
}
