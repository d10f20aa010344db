package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// use is one mention of pkg.Name in a file of the module.
type use struct {
	room, pkg, name string
	at              token.Position
}

// uses finds every selector on an imported package in the production files of
// the module: what they take from which import path.
func uses(t *testing.T) []use {
	t.Helper()
	var found []use
	for _, p := range load(t) {
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, selectors(p.room(), set, file)...)
		}
	}
	return found
}

func selectors(room string, set *token.FileSet, file *ast.File) []use {
	imported := map[string]string{} // name in this file -> import path
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = path
	}
	var found []use
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && imported[x.Name] != "" {
			found = append(found, use{room: room, pkg: imported[x.Name], name: sel.Sel.Name, at: set.Position(sel.Pos())})
		}
		return true
	})
	return found
}

// clock are the functions that read or wait on the wall clock.
var clock = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTimer": true, "NewTicker": true,
}

func breaksClock(u use) bool {
	r, _ := find(u.room)
	return r.pure && u.pkg == "time" && clock[u.name]
}

// socketNames are the ways to a socket: the system calls themselves, and what
// net opens datagram sockets with. Stream listeners are SIP's and the admin
// server's and are no media.
func opensSocket(u use) bool {
	switch u.pkg {
	case "golang.org/x/sys/unix", "syscall":
		for _, prefix := range []string{
			"Socket", "Bind", "Connect", "Accept", "Listen", "Send", "Recv",
			"Setsockopt", "SetsockoptInt", "Getsockopt", "Getsockname", "Epoll",
			"SYS_SOCKET", "SYS_SEND", "SYS_RECV", "SYS_BIND", "SYS_EPOLL",
		} {
			if strings.HasPrefix(u.name, prefix) {
				return true
			}
		}
	case "net":
		switch u.name {
		case "ListenUDP", "ListenPacket", "ListenMulticastUDP", "ListenIP", "DialUDP", "DialIP",
			"ListenConfig", "UDPConn", "PacketConn", "FilePacketConn":
			return true
		}
	}
	return strings.HasPrefix(u.pkg, "golang.org/x/net/ipv4") || strings.HasPrefix(u.pkg, "golang.org/x/net/ipv6")
}

func breaksSockets(u use) bool {
	r, _ := find(u.room)
	return !r.sockets && opensSocket(u)
}

func TestRoomsWithoutIOReadNoClock(t *testing.T) {
	for _, u := range uses(t) {
		if breaksClock(u) {
			t.Errorf("%s: time.%s in %s, a room without I/O: take `now` as an argument", u.at, u.name, u.room)
		}
	}
}

func TestOnlyNetioOpensMediaSockets(t *testing.T) {
	for _, u := range uses(t) {
		if breaksSockets(u) {
			t.Errorf("%s: %s.%s in %s: sockets belong to internal/netio", u.at, u.pkg, u.name, u.room)
		}
	}
}

// The scan itself, on sources that nobody may write.
func TestScanFindsEachBreach(t *testing.T) {
	for _, c := range []struct {
		room, source   string
		clock, sockets bool
	}{
		{"mediation/number", `import "time"; var _ = time.Now`, true, false},
		{"codec/g711", `import clk "time"; func f() { clk.Sleep(1) }`, true, false},
		{"mediation", `import "time"; var _ = time.Now()`, false, false},
		{"mediation/number", `import "time"; const d = time.Second`, false, false},
		{"mediation/media", `import "net"; func f() { net.ListenUDP("udp", nil) }`, false, true},
		{"mediation/media", `import "golang.org/x/sys/unix"; func f() { unix.Sendto(0, nil, 0, nil) }`, false, true},
		{"internal/life", `import "syscall"; var _ = syscall.SIGTERM`, false, false},
		{"internal/netio", `import "golang.org/x/sys/unix"; func f() { unix.Socket(0, 0, 0) }`, false, false},
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "x.go", "package x;"+c.source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var clock, sockets bool
		for _, u := range selectors(c.room, set, file) {
			clock = clock || breaksClock(u)
			sockets = sockets || breaksSockets(u)
		}
		if clock != c.clock || sockets != c.sockets {
			t.Errorf("%s: %s: clock %v sockets %v, want %v %v", c.room, c.source, clock, sockets, c.clock, c.sockets)
		}
	}
}
