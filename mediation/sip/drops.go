package sip

import "causeway/mediation/sip/transport"

// The drops of the signalling room have one list, which transport keeps.
type (
	Drop  = transport.Drop
	Drops = transport.Drops
)

// The drops that are counted here.
const (
	DropInvalid       = transport.DropInvalid
	DropAckUnmatched  = transport.DropAckUnmatched
	DropStrayResponse = transport.DropStrayResponse
	DropStaleAck      = transport.DropStaleAck
	DropPanic         = transport.DropPanic
	DropForkLimit     = transport.DropForkLimit
	DropReliableOrder = transport.DropReliableOrder
	DropNoPrack       = transport.DropNoPrack
)
