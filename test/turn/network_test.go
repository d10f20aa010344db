package turn

import (
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"causeway/test/rig"
)

// nat is how a NAT maps its clients, as the rule that nftables has for it.
type nat struct{ name, rule string }

var (
	// One mapping for a client's socket, whoever it speaks to: the kernel keeps the port.
	cone = nat{"cone", "masquerade persistent"}
	// Another mapping for each destination.
	symmetric = nat{"symmetric", "masquerade fully-random"}
)

// The public side of the network: the relay has two addresses, each NAT one, in networks that are set apart for
// documentation (RFC 5737), which no packet of a test leaves.
const (
	relayAddress, secondAddress = "198.51.100.1", "198.51.100.129"
	publicNetwork1              = "198.51.100.0/24"
	publicNetwork2              = "203.0.113.0/24"
)

// network is five namespaces: client - NAT - public - NAT - client.
type network struct {
	t       *testing.T
	prefix  string
	public  string
	clients [2]string
}

var networks atomic.Int32

// newNetwork makes one, which goes with the test.
func newNetwork(t *testing.T, nats [2]nat) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	rig.Need(t, "ip", "iproute2")
	rig.Need(t, "nft", "nftables")
	n := &network{t: t, prefix: fmt.Sprintf("cw%d-%d", os.Getpid(), networks.Add(1))}
	n.public = n.namespace("public")
	n.ip(n.public, "addr add "+secondAddress+"/32 dev lo")
	n.side(0, nats[0], relayAddress+"/24", "198.51.100.2")
	n.side(1, nats[1], "203.0.113.1/24", "203.0.113.2")
	return n
}

// side builds one arm: the NAT at address outside, seen from the public namespace's own address there, and its client.
func (n *network) side(i int, kind nat, own, outside string) {
	n.t.Helper()
	router, client := n.namespace(fmt.Sprintf("nat%d", i)), n.namespace(fmt.Sprintf("client%d", i))
	n.clients[i] = client
	gateway, _, _ := strings.Cut(own, "/")
	inside := fmt.Sprintf("10.%d.0", i+1)

	n.ip(n.public, fmt.Sprintf("link add arm%d type veth peer name outside netns %s", i, router))
	n.ip(n.public, fmt.Sprintf("addr add %s dev arm%d", own, i), fmt.Sprintf("link set arm%d up", i))
	n.ip(router, "addr add "+outside+"/24 dev outside", "link set outside up", "route add default via "+gateway,
		"link add inside type veth peer name eth0 netns "+client,
		"addr add "+inside+".1/24 dev inside", "link set inside up")
	n.ip(client, "addr add "+inside+".2/24 dev eth0", "link set eth0 up", "route add default via "+inside+".1")
	n.run("ip", "netns", "exec", router, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	n.run("ip", "netns", "exec", router, "nft", "add table ip nat; "+
		"add chain ip nat leaving { type nat hook postrouting priority srcnat; }; "+
		"add rule ip nat leaving oifname outside "+kind.rule)
}

// namespace makes one with its loopback up.
func (n *network) namespace(role string) string {
	n.t.Helper()
	name := n.prefix + "-" + role
	n.run("ip", "netns", "add", name)
	n.t.Cleanup(func() { n.run("ip", "netns", "delete", name) })
	n.ip(name, "link set lo up")
	return name
}

// ip runs ip commands in a namespace.
func (n *network) ip(namespace string, commands ...string) {
	n.t.Helper()
	for _, c := range commands {
		n.run("ip", append([]string{"-n", namespace}, strings.Fields(c)...)...)
	}
}

func (n *network) run(name string, args ...string) {
	n.t.Helper()
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, text)
	}
}

// guest is a visitor, as the test sees it.
type guest struct {
	t   *testing.T
	rpc *rpc.Client
}

// visitor starts one in a namespace.
func (n *network) visitor(t *testing.T, namespace string) guest {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "visitor"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rig.Spawn(t, dir, "visitor", nil, "ip", "netns", "exec", namespace, own, visitorCommand, listener.Addr().String())
	if err := listener.(*net.UnixListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("the visitor does not call: %v", err)
	}
	client := rpc.NewClient(conn)
	t.Cleanup(func() { client.Close() })
	return guest{t, client}
}

// do has the visitor do something and waits for it.
func (g guest) do(method string, args, reply any) {
	g.t.Helper()
	if err := g.rpc.Call("visitor."+method, args, reply); err != nil {
		g.t.Fatalf("visitor: %s: %v", method, err)
	}
}

// begin has the visitor do something, and returns at once what waits for it.
func (g guest) begin(method string, args, reply any) (wait func()) {
	call := g.rpc.Go("visitor."+method, args, reply, make(chan *rpc.Call, 1))
	return func() {
		g.t.Helper()
		if done := <-call.Done; done.Error != nil {
			g.t.Fatalf("visitor: %s: %v", method, done.Error)
		}
	}
}
