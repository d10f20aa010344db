package turn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"time"

	"github.com/pion/stun/v3"
	turn5 "github.com/pion/turn/v5"
)

// visitorCommand makes this test binary a visitor: a client in a network namespace, told by the test what to do. The
// argument behind it is the path of the socket on which the test waits for it.
const visitorCommand = "visit"

func visit(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "visit: want the path of a socket")
		return 2
	}
	conn, err := net.Dial("unix", args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "visit:", err)
		return 1
	}
	socket, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "visit:", err)
		return 1
	}
	server := rpc.NewServer()
	if err := server.RegisterName("visitor", &visitor{socket: socket}); err != nil {
		fmt.Fprintln(os.Stderr, "visit:", err)
		return 1
	}
	server.ServeConn(conn) // until the test closes it
	return 0
}

// visitor has one socket of its own and at most one allocation. Its methods are called from the test, by net/rpc.
type visitor struct {
	socket  net.PacketConn
	client  *turn5.Client
	relayed net.PacketConn
}

// Allocation says how to come to an allocation.
type Allocation struct{ Transport, Relay string }

// Exchange says whom to exchange messages with, and whether by the allocation.
type Exchange struct {
	Relayed  bool
	Peer     string
	Messages int
}

// Mapped asks each of the relay's addresses, from one socket, where it sees that socket.
func (v *visitor) Mapped(relays []string, mapped *[]string) error {
	for _, relay := range relays {
		to, err := net.ResolveUDPAddr("udp4", relay)
		if err != nil {
			return err
		}
		request, err := stun.Build(stun.TransactionID, stun.BindingRequest)
		if err != nil {
			return err
		}
		if _, err := v.socket.WriteTo(request.Raw, to); err != nil {
			return err
		}
		b, _, err := receive(v.socket)
		if err != nil {
			return fmt.Errorf("Binding at %s: %w", relay, err)
		}
		answer := &stun.Message{Raw: b}
		var at stun.XORMappedAddress
		if err := errors.Join(answer.Decode(), at.GetFrom(answer)); err != nil {
			return err
		}
		*mapped = append(*mapped, at.String())
	}
	return nil
}

// Allocate makes an allocation.
func (v *visitor) Allocate(a Allocation, relayed *string) error {
	conn, err := net.ListenPacket("udp4", ":0")
	if a.Transport == "tcp" {
		var c net.Conn
		if c, err = net.Dial("tcp", a.Relay); err == nil {
			conn = turn5.NewSTUNConn(c)
		}
	}
	if err != nil {
		return err
	}
	v.client, err = turn5.NewClient(&turn5.ClientConfig{
		STUNServerAddr: a.Relay, TURNServerAddr: a.Relay, Conn: conn, Username: user, Password: password, Realm: realm,
		RequestedAddressFamily: turn5.RequestedAddressFamilyIPv4,
	})
	if err != nil {
		return err
	}
	if err := v.client.Listen(); err != nil {
		return err
	}
	if v.relayed, err = v.client.Allocate(); err != nil {
		return err
	}
	*relayed = v.relayed.LocalAddr().String()
	return nil
}

// Relayed returns the relayed address.
func (v *visitor) Relayed(_ struct{}, relayed *string) error {
	*relayed = v.relayed.LocalAddr().String()
	return nil
}

// Permit gives a peer's address a permission.
func (v *visitor) Permit(peer string, _ *struct{}) error {
	to, err := net.ResolveUDPAddr("udp4", peer)
	if err != nil {
		return err
	}
	return v.client.CreatePermission(to)
}

// Exchange sends numbered messages to a peer and counts those that come, each number once. The peer does the same, or
// sends back what it gets.
func (v *visitor) Exchange(e Exchange, received *int) error {
	conn := v.socket
	if e.Relayed {
		conn = v.relayed
	}
	to, err := net.ResolveUDPAddr("udp4", e.Peer)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		for i := range e.Messages {
			if _, err := conn.WriteTo(binary.BigEndian.AppendUint64(nil, uint64(i)), to); err != nil {
				sent <- err
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		sent <- nil
	}()
	seen := map[uint64]bool{}
	for len(seen) < e.Messages {
		b, _, err := receive(conn)
		if errors.Is(err, errNothingCame) {
			break
		}
		if err != nil {
			return err
		}
		if len(b) == 8 {
			seen[binary.BigEndian.Uint64(b)] = true
		}
	}
	*received = len(seen)
	return <-sent
}

// Reflect sends back the next messages that come to the allocation.
func (v *visitor) Reflect(messages int, _ *struct{}) error {
	for range messages {
		if err := v.relayed.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		b := make([]byte, 100)
		n, from, err := v.relayed.ReadFrom(b)
		if err != nil {
			return err
		}
		if _, err := v.relayed.WriteTo(b[:n], from); err != nil {
			return err
		}
	}
	return nil
}
