package media

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"causeway/test/rig"
)

// Built once for all tests.
var binaries rig.Binaries

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	rig.WaitTogether()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the SIP library of the telephones
	dir, err := os.MkdirTemp("", "causeway-media-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "media:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binaries, err = rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "media: build causeway:", err)
		return 1
	}
	return m.Run()
}
