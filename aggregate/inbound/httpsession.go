package inbound

import (
	"container/list"
	"time"
)

// httpSession is what we keep of a legacy session over Streamable HTTP.
type httpSession struct {
	*session
	secret   string // the id that the client sends
	upstream string // whose endpoint

	// Guarded by the mu of the table.
	users int           // HTTP requests that are under way
	used  time.Time     // when the last of them ended
	idle  *list.Element // nil while there are users
}
