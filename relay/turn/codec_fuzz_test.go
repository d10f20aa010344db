package turn

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
)

// The same attributes are known to a Send indication as to requests.
func TestKnownToSend(t *testing.T) {
	for a := range Attr(0x8000) {
		if fast := a < 64 && knownToSend>>a&1 == 1; fast != understood(a) {
			t.Errorf("%#04x: known to Send %v, to requests %v", uint16(a), fast, !fast)
		}
	}
}

func addMessages(f *testing.F, add func([]byte)) {
	for _, hex := range []string{
		rfc5769Request, rfc5769IPv4Response, rfc5769IPv6Response, rfc5769LongTerm, rfc8489B1, sha256Allocate, bothSuccess,
		longKey, truncatedSHA256,
	} {
		add(unhex(f, hex))
	}
	data := attr(AttrData, 'd', 'a', 't', 'a', '!')
	add(message(typeSend, peerAttr, data))
	add(fingerprinting(message(typeSend, peerAttr, data, attr(AttrDontFragment))))
	add(message(typeSend, peerAttr, attr(AttrMessageIntegrity, make([]byte, 20)...), data))
	add(message(0x0008, peerAttr, attr(0x7FFF), peerAttr))
}

// FuzzMessage holds the parser against the oracle, whatever the bytes, and has it read what was composed of its own
// findings.
func FuzzMessage(f *testing.F) {
	addMessages(f, func(b []byte) { f.Add(b, []byte(rfc5769Password)) })
	f.Add(unhex(f, sha256Allocate), keySHA256("alice", "example.org", "secret"))
	f.Add(unhex(f, bothSuccess), keySHA256("alice", "example.org", "secret"))
	m, c := new(Message), new(Composer) // used again, as a server does
	f.Fuzz(func(t *testing.T, b, key []byte) {
		before := bytes.Clone(b)
		o, refused := readOracle(b)
		err := m.Parse(b)
		if (err == nil) != (refused == nil) {
			t.Fatalf("parser: %v, oracle: %v", err, refused)
		}
		if err != nil {
			return
		}
		agree(t, m, o)
		if got := m.CheckIntegrity(key); got != o.verify(AttrMessageIntegrity, sha1.New, key) {
			t.Fatalf("SHA-1: %v", got)
		}
		if got := m.CheckIntegritySHA256(key); got != o.verify(AttrMessageIntegritySHA256, sha256.New, key) {
			t.Fatalf("SHA-256: %v", got)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the bytes were changed")
		}

		if len(b) > MaxMessageSize-100 {
			return // no room for seals
		}
		c.Begin(m.Method, m.Class, m.ID)
		for _, a := range o.open {
			c.Add(a.typ, a.value)
		}
		var again Message
		if err := again.Parse(c.Seal(key, true, true, true)); err != nil {
			t.Fatalf("composed: %v", err)
		}
		if !again.CheckIntegrity(key) || !again.CheckIntegritySHA256(key) {
			t.Fatal("composed: integrity")
		}
		for _, a := range o.open {
			first, _ := o.get(a.typ)
			if got, ok := again.Get(a.typ); !ok || !bytes.Equal(got, first.value) {
				t.Fatalf("composed: %#04x is %x, %v, want %x", uint16(a.typ), got, ok, first.value)
			}
		}
	})
}

// agree compares everything that a message says with the oracle.
func agree(t *testing.T, m *Message, o *oracle) {
	if int(m.Method) != o.method || int(m.Class) != o.class || !bytes.Equal(m.ID[:], o.id) {
		t.Fatalf("method %d, class %d, want %d, %d", m.Method, m.Class, o.method, o.class)
	}
	for a := range Attr(0x40) {
		for _, typ := range []Attr{a, a | 0x40, a | 0x8000, a | 0x7FC0, a | 0xFFC0} {
			compareGet(t, m, o, typ)
		}
	}
	var unknown []Attr
	for _, a := range o.open {
		compareGet(t, m, o, a.typ)
		if a.typ < 0x8000 && !understood(a.typ) && !slices.Contains(unknown, a.typ) {
			unknown = append(unknown, a.typ)
		}
	}
	if got := m.Unknown(nil, understood); !slices.Equal(got, unknown[:min(len(unknown), maxUnknown)]) {
		t.Fatalf("unknown %x, want %x", got, unknown)
	}
	var peers, want [][]byte
	m.Each(AttrXORPeerAddress, func(value []byte) { peers = append(peers, value) })
	for _, a := range o.open {
		if a.typ != AttrXORPeerAddress {
			continue
		}
		want = append(want, a.value)
		addr, ok := o.address(a.value)
		if got, err := m.DecodeXORAddr(a.value); got != addr || (err == nil) != ok {
			t.Fatalf("peer %v, %v, want %v, %v", got, err, addr, ok)
		}
	}
	if !slices.EqualFunc(peers, want, bytes.Equal) {
		t.Fatalf("peers %x, want %x", peers, want)
	}
}

func compareGet(t *testing.T, m *Message, o *oracle, typ Attr) {
	want, has := o.get(typ)
	if got, ok := m.Get(typ); ok != has || !bytes.Equal(got, want.value) {
		t.Fatalf("%#04x: %x, %v, want %x, %v", uint16(typ), got, ok, want.value, has)
	}
}

// FuzzSend holds the short way for Send indications against the long one.
func FuzzSend(f *testing.F) {
	addMessages(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		peer, data, dontFragment, err := ParseSend(b)
		o, refused := readOracle(b)
		good := refused == nil && o.method == int(MethodSend) && o.class == int(ClassIndication)
		if good {
			to, hasPeer := o.get(AttrXORPeerAddress)
			content, hasData := o.get(AttrData)
			_, df := o.get(AttrDontFragment)
			addr, valid := o.address(to.value)
			good = hasPeer && hasData && valid
			for _, a := range o.open {
				good = good && (a.typ >= 0x8000 || understood(a.typ))
			}
			if good && (peer != addr || !bytes.Equal(data, content.value) || dontFragment != df) {
				t.Fatalf("%v, %x, %v, want %v, %x, %v", peer, data, dontFragment, addr, content.value, df)
			}
			if good && cap(b)-cap(data) != content.at+4 {
				t.Fatalf("data at %d, want %d", cap(b)-cap(data), content.at+4)
			}
		}
		if (err == nil) != good {
			t.Fatalf("%v, want good %v", err, good)
		}
		if err == nil && Classify(b) != KindSTUN {
			t.Fatal("a Send indication is not classified as STUN")
		}
	})
}

// FuzzChannelData holds the lengths of ChannelData against their definition.
func FuzzChannelData(f *testing.F) {
	for _, s := range []string{
		"", "\x40\x00\x00\x00", "\x40\x00\x00\x04abcd", "\x4F\xFF\x00\x05abcde", "\x40\x01\x00\x05abcde\x00\x00\x00",
		"\x40\x01\xFF\xFFabc", "\x50\x00\x00\x00", "\x40\x01\x00\x01a\x00\x00\x00\x00",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, stream bool) {
		channel, data, err := ParseChannelData(b, stream)
		good := len(b) >= 4 && b[0]>>6 == 1
		if good {
			n := int(b[2])*256 + int(b[3])
			padding := []int{0, 3, 2, 1}[n%4]
			extra := len(b) - 4 - n
			good = extra == padding || !stream && extra >= 0 && extra < padding
			if good && !bytes.Equal(data, b[4:4+n]) {
				t.Fatalf("data %x", data)
			}
		}
		if (err == nil) != good {
			t.Fatalf("%v, want good %v", err, good)
		}
		if err != nil {
			return
		}
		again := make([]byte, ChannelHeaderSize+PaddedLen(len(data)))
		PutChannelHeader(again, channel, len(data))
		copy(again[ChannelHeaderSize:], data)
		number, same, err := ParseChannelData(again, true)
		if err != nil || number != channel || !bytes.Equal(same, data) {
			t.Fatalf("written again: %#x, %x, %v", number, same, err)
		}
	})
}

// FuzzFrames cuts streams: nothing is lost or taken twice, every cut is told by the first four bytes alone, and what was
// cut has the length that its parser wants.
func FuzzFrames(f *testing.F) {
	odd := []byte("\x40\x02\x00\x05abcde\x00\x00\x00")
	f.Add(bytes.Join([][]byte{odd, message(0x0001), odd, odd[:9]}, nil))
	f.Add(append([]byte{0x40, 0, 0xFF, 0xFF}, make([]byte, 0x10000)...))
	f.Add([]byte("\x00\x01\xFF\xEC" + "\x00\x01\x00\x00"))
	f.Add([]byte("\x16\x03\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, rest, err := frames(b)
		if !bytes.Equal(append(bytes.Join(list, nil), rest...), b) {
			t.Fatal("bytes lost")
		}
		if err != nil && len(rest) < 4 {
			t.Fatalf("%v after %d bytes", err, len(rest))
		}
		for _, frame := range list {
			head, err := FrameSize(frame[:4])
			if err != nil || head != len(frame) || head%4 != 0 || head > MaxFrameSize {
				t.Fatalf("%d by the header, %v, %d in all", head, err, len(frame))
			}
			if frame[0] >= 0x40 {
				if _, _, err := ParseChannelData(frame, true); err != nil {
					t.Fatalf("ChannelData: %v", err)
				}
				continue
			}
			if err := new(Message).Parse(frame); errors.Is(err, ErrTruncated) || errors.Is(err, ErrTrailing) {
				t.Fatalf("STUN: %v", err)
			}
		}
		if n, err := FrameSize(rest); err == nil && n != 0 && n <= len(rest) {
			t.Fatal("a frame was left")
		}
	})
}
