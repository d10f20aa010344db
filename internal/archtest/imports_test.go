package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "causeway"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	CgoFiles     []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// room is the package's path inside the module.
func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// packages asks the go command once for every package of the module.
var packages = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,CgoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func load(t *testing.T) []pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages, which cannot be the whole module", len(all))
	}
	return all
}

// find returns the line of the table for a room: its own, or that of the
// nearest parent whose line covers what is below it.
func find(name string) (room, bool) {
	if r, ok := rooms[name]; ok {
		return r, true
	}
	for name = path.Dir(name); name != "." && name != "/"; name = path.Dir(name) {
		if r, ok := rooms[name]; ok && r.below {
			return r, true
		}
	}
	return room{}, false
}

// within reports whether p is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// standard reports whether an import path is the standard library's: its first
// element has no dot, and it is not this module.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return first != module && !strings.Contains(first, ".")
}

// may reports whether the list of a room covers an import.
func may(list []string, imp string) bool {
	inside, ours := strings.CutPrefix(imp, module+"/")
	return slices.ContainsFunc(list, func(allowed string) bool {
		local, isLocal := strings.CutPrefix(allowed, "./")
		switch {
		case isLocal != ours:
			return false
		case isLocal && strings.HasSuffix(local, "/..."):
			return within(inside, strings.TrimSuffix(local, "/..."))
		case isLocal:
			return inside == local
		case strings.HasSuffix(allowed, "/"):
			return strings.HasPrefix(imp, allowed)
		}
		return within(imp, allowed)
	})
}

// check says what is wrong with one production import, or "".
func check(from, imp string) string {
	r, ok := find(from)
	inside := strings.TrimPrefix(imp, module+"/")
	switch {
	case !ok:
		return "no line of rooms_test.go covers this room"
	case within(from, "relay") && within(imp, module+"/mediation"), within(from, "mediation") && within(imp, module+"/relay"):
		return "relay and mediation never import each other"
	case within(imp, module+"/bench") && !slices.ContainsFunc(benchUsers, func(u string) bool { return within(from, u) }):
		return "only bench's own command and the tests import bench"
	case within(imp, module+"/test") && !within(from, "test"):
		return "test holds peers of the tests; nothing else imports it"
	case r.pure && impure(imp):
		return "this room does no I/O: no net but net/netip, no os, no logger"
	case standard(imp) || inside == from:
		return ""
	case !may(r.may, imp):
		return "not in this room's line of rooms_test.go"
	}
	return ""
}

// impure reports whether a standard import does I/O or logs.
func impure(imp string) bool {
	for _, banned := range []string{"net", "os", "log", "syscall", "crypto/tls", "golang.org/x/sys", "golang.org/x/net"} {
		if within(imp, banned) {
			return imp != "net/netip"
		}
	}
	return false
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, p := range load(t) {
		for _, imp := range p.Imports {
			if why := check(p.room(), imp); why != "" {
				t.Errorf("%s imports %s: %s", p.room(), imp, why)
			}
		}
	}
}

// A test may import more than the room it tests (a leak checker, a property
// tester, the twin it compares with), but the two roles stay apart in tests
// too, and a room under bench would make its own judge.
func TestTestsKeepTheRolesApart(t *testing.T) {
	for _, p := range load(t) {
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			relay, mediation := within(p.room(), "relay"), within(p.room(), "mediation")
			if relay && within(imp, module+"/mediation") || mediation && within(imp, module+"/relay") {
				t.Errorf("the tests of %s import %s: relay and mediation never import each other", p.room(), imp)
			}
		}
	}
}

// The table must not outlive the rooms in silence: a line that no rule is
// checked by, because of a typing error, would look like one that holds.
func TestTableNamesOnlyRoomsOfTheHouse(t *testing.T) {
	house := []string{"cmd", "relay", "mediation", "codec", "qos", "bench", "configs", "internal", "test"}
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains(house, top) {
			t.Errorf("rooms_test.go has a line for %s, which is in none of the folders %v", name, house)
		}
		for _, allowed := range rooms[name].may {
			local, ok := strings.CutPrefix(allowed, "./")
			if !ok {
				continue
			}
			local, tree := strings.CutSuffix(local, "/...")
			if !slices.ContainsFunc(slices.Collect(maps.Keys(rooms)), func(r string) bool {
				return r == local || tree && within(r, local)
			}) {
				t.Errorf("%s may import %s, which has no line of its own", name, allowed)
			}
		}
	}
}

// The rules themselves, on imports that nobody may write.
func TestCheckFindsEachBreach(t *testing.T) {
	for _, c := range []struct{ from, imp, why string }{
		{"elsewhere", "fmt", "no line"},
		{"mediation/rtt", "fmt", "no line"},
		{"internal/util", "fmt", "no line"},
		{"relay", "causeway/mediation/number", "never import each other"},
		{"mediation/media", "causeway/relay/route", "never import each other"},
		{"mediation", "causeway/bench/ua", "import bench"},
		{"mediation", "causeway/test/tone", "nothing else imports it"},
		{"mediation/number", "os", "no I/O"},
		{"mediation/number", "net", "no I/O"},
		{"mediation/number", "net/http", "no I/O"},
		{"codec/g711", "log/slog", "no I/O"},
		{"qos/qoe", "causeway/qos/store", "not in this room's line"},
		{"mediation/sip", "github.com/pion/rtp", "not in this room's line"},
		{"mediation/sip", "causeway/mediation/media", "not in this room's line"},
		{"mediation/media", "causeway/qos/store", "not in this room's line"},
		{"mediation/media", "github.com/pion/srtp/v2", "not in this room's line"},
		{"mediation/number", "net/netip", ""},
		{"codec/g711/tables", "fmt", ""},
		{"mediation", "causeway/mediation/sip", ""},
		{"cmd/causeway", "causeway/bench/ua", ""},
		{"mediation/sip", "github.com/emiago/sipgo/sip", ""},
	} {
		if got := check(c.from, c.imp); (c.why == "") != (got == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s importing %s: got %q, want %q", c.from, c.imp, got, c.why)
		}
	}
}
