package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the causeway under test. Checked carries the race detector, which makes it several times slower; Plain
// is for tests of load and memory.
type Binaries struct{ Checked, Plain string }

// Build builds causeway into dir. The race detector needs a C compiler: without one Checked is Plain, and a line on
// standard error says so, since what the peers do is still worth seeing.
func Build(dir string) (Binaries, error) {
	b := Binaries{Checked: filepath.Join(dir, "causeway-race"), Plain: filepath.Join(dir, "causeway")}
	if err := build(b.Plain, "0"); err != nil {
		return b, err
	}
	if err := build(b.Checked, "1", "-race"); err != nil {
		fmt.Fprintln(os.Stderr, "going on without the race detector:", err)
		b.Checked = b.Plain
	}
	return b, nil
}

// BuildChecked builds the Checked causeway alone into dir, as Build does.
func BuildChecked(dir string) (string, error) {
	out := filepath.Join(dir, "causeway-race")
	err := build(out, "1", "-race")
	if err == nil {
		return out, nil
	}
	fmt.Fprintln(os.Stderr, "going on without the race detector:", err)
	return BuildPlain(dir)
}

// BuildPlain builds the Plain causeway alone into dir, and returns its path.
func BuildPlain(dir string) (string, error) {
	out := filepath.Join(dir, "causeway")
	return out, build(out, "0")
}

func build(out, cgo string, flags ...string) error {
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, "causeway/cmd/causeway")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}
