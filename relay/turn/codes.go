package turn

import "strconv"

// Error codes and the clauses that define them.
const (
	CodeTryAlternate         = 300 // RFC 8489 section 10
	CodeBadRequest           = 400 // RFC 8489 section 14.8
	CodeUnauthenticated      = 401 // RFC 8489 section 9.2.4
	CodeForbidden            = 403 // RFC 8656 section 19
	CodeMobilityForbidden    = 405 // RFC 8016 section 3.4
	CodeUnknownAttribute     = 420 // RFC 8489 section 6.3.1
	CodeAllocationMismatch   = 437 // RFC 8656 section 19
	CodeStaleNonce           = 438 // RFC 8489 section 9.2.4
	CodeFamilyNotSupported   = 440 // RFC 8656 section 19
	CodeWrongCredentials     = 441 // RFC 8656 section 19
	CodeUnsupportedTransport = 442 // RFC 8656 section 19
	CodePeerFamilyMismatch   = 443 // RFC 8656 section 19
	CodeConnectionExists     = 446 // RFC 6062 section 6.3
	CodeConnectionFailed     = 447 // RFC 6062 section 6.3
	CodeAllocationQuota      = 486 // RFC 8656 section 19
	CodeInsufficientCapacity = 508 // RFC 8656 section 19
)

// codeError is an error that is one of the codes above.
type codeError int

func (e codeError) Error() string { return "error code " + strconv.Itoa(int(e)) }

// String returns the name that metrics use.
func (m Method) String() string {
	switch m {
	case MethodBinding:
		return "binding"
	case MethodAllocate:
		return "allocate"
	case MethodRefresh:
		return "refresh"
	case MethodSend:
		return "send"
	case MethodData:
		return "data"
	case MethodCreatePermission:
		return "create_permission"
	case MethodChannelBind:
		return "channel_bind"
	case MethodConnect:
		return "connect"
	case MethodConnectionBind:
		return "connection_bind"
	case MethodConnectionAttempt:
		return "connection_attempt"
	default:
		return "unknown"
	}
}
