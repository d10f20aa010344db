package turnload

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"causeway/relay/auth"
	"causeway/relay/turn"
)

// step is where a client is in its life. A client at any step but ready and removed has a request to send.
type step uint8

const (
	challenge step = iota // an Allocate request without credentials, to be told realm and nonce
	allocate
	permit
	bind
	ready
	remove
	removed
)

const (
	firstChannel  = 0x4000 // each client has one channel, this one (RFC 8656 section 12)
	transportUDP  = 17 << 24
	attemptsLimit = 3 // of one request, with a new nonce each
)

// session is one client.
type session struct {
	socket         socket
	number         uint32
	user, password string
	peer           *peer

	step        step
	began       time.Duration // with its first request
	sent        time.Duration // the request under way
	sends       int           // of that request
	attempts    int
	id          turn.TransactionID
	realm       string
	nonce       []byte
	key         []byte
	relayedPort uint16
	relayed     unix.Sockaddr // for the peer to send to
}

// peer is one socket that plays peers.
type peer struct{ socket socket }

// Timeouts of a request over UDP (RFC 8489 section 6.2.1): the first, doubled with each retransmission.
const (
	retransmitAfter = 500 * time.Millisecond
	sendsLimit      = 6
)

var errNoAnswer = errors.New("no answer")

// request sends the request of a client's step; again says that it is the same request once more.
func (l *Load) request(s *session, again bool) error {
	if !again {
		_, _ = rand.Read(s.id[:]) // never fails
		s.sends = 0
	}
	s.sends++
	s.sent = l.since()
	err := s.socket.send(l.compose(s))
	if err != nil && !transient(err) {
		return fmt.Errorf("client %d: send: %w", s.number, err)
	}
	return nil // what was not sent is sent again
}

// compose makes the request of a client's step.
func (l *Load) compose(s *session) []byte {
	switch s.step {
	case challenge, allocate:
		l.out.Begin(turn.MethodAllocate, turn.ClassRequest, s.id)
		l.out.AddUint32(turn.AttrRequestedTransport, transportUDP)
	case permit:
		l.out.Begin(turn.MethodCreatePermission, turn.ClassRequest, s.id)
		l.out.AddAddr(turn.AttrXORPeerAddress, s.peer.socket.local)
	case bind:
		l.out.Begin(turn.MethodChannelBind, turn.ClassRequest, s.id)
		l.out.AddUint32(turn.AttrChannelNumber, firstChannel<<16)
		l.out.AddAddr(turn.AttrXORPeerAddress, s.peer.socket.local)
	case remove:
		l.out.Begin(turn.MethodRefresh, turn.ClassRequest, s.id)
		l.out.AddUint32(turn.AttrLifetime, 0)
	default:
		panic("turnload: nothing to ask for")
	}
	if s.step == challenge {
		return l.out.Seal(nil, false, false, false)
	}
	l.out.AddString(turn.AttrUsername, s.user)
	l.out.AddString(turn.AttrRealm, s.realm)
	l.out.Add(turn.AttrNonce, s.nonce)
	return l.out.Seal(s.key, true, false, false)
}

// answer takes what the server sent to a client. ok says that it answered the request under way, so that the client
// has taken a step or has to ask again.
func (l *Load) answer(s *session, b []byte) (ok bool, err error) {
	err = l.msg.Parse(b)
	switch {
	case err != nil:
		return false, fmt.Errorf("client %d: what the server sent: %w", s.number, err)
	case l.msg.ID != s.id:
		return false, nil // the answer to a retransmission
	case l.msg.Class == turn.ClassSuccess:
		return true, l.succeeded(s)
	case l.msg.Class == turn.ClassError:
		return true, l.refused(s)
	default:
		return false, nil
	}
}

func (l *Load) succeeded(s *session) error {
	if s.step == challenge {
		return errors.New("the server gives allocations to anybody")
	}
	if !l.msg.CheckIntegrity(s.key) {
		return fmt.Errorf("client %d: the answer to its %v request is not authentic", s.number, l.msg.Method)
	}
	if s.step == allocate {
		relayed, err := l.msg.Addr(turn.AttrXORRelayedAddress)
		if err != nil {
			return fmt.Errorf("client %d: XOR-RELAYED-ADDRESS: %w", s.number, err)
		}
		s.relayedPort, s.relayed = relayed.Port(), sockaddr(relayed)
	}
	s.step++
	s.attempts = 0
	return nil
}

// refused takes the challenges that a client must expect (RFC 8489 section 9.2.5); any other error ends the load.
func (l *Load) refused(s *session) error {
	value, _ := l.msg.Get(turn.AttrErrorCode)
	code := 0
	if len(value) >= 4 {
		code = int(value[2]&7)*100 + int(value[3])
	}
	realm, hasRealm := l.msg.Get(turn.AttrRealm)
	nonce, hasNonce := l.msg.Get(turn.AttrNonce)
	s.attempts++
	unauthenticated := code == turn.CodeUnauthenticated && s.step == challenge
	if !hasRealm || !hasNonce || !unauthenticated && code != turn.CodeStaleNonce || s.attempts > attemptsLimit {
		return fmt.Errorf("client %d: error %d to its %v request", s.number, code, l.msg.Method)
	}
	s.nonce = append(s.nonce[:0], nonce...)
	if s.key == nil || s.realm != string(realm) {
		s.realm = string(realm)
		s.key = auth.Key(s.key[:0], auth.MD5, s.user, s.realm, s.password)
	}
	if s.step == challenge {
		s.step = allocate
	}
	return nil
}

// overdue reports whether a request has to be sent again, or, with an error, given up.
func (s *session) overdue(now time.Duration) (bool, error) {
	if now-s.sent < retransmitAfter<<(s.sends-1) {
		return false, nil
	}
	if s.sends >= sendsLimit {
		return false, fmt.Errorf("client %d, step %d: %w after %d requests", s.number, s.step, errNoAnswer, s.sends)
	}
	return true, nil
}

// channelHeader is the header of a client's ChannelData.
func channelHeader(b []byte, n int) {
	binary.BigEndian.PutUint32(b, firstChannel<<16|uint32(n))
}
