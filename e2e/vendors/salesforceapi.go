package vendors

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route answers the API below its version.
func (s *Salesforce) route(w http.ResponseWriter, r *http.Request, body []byte) {
	s.records.Lock()
	defer s.records.Unlock()
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/services/data/"+salesforceVersion+"/")
	if !ok {
		salesforceRefusal(w, http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i], _ = url.PathUnescape(p) // it was read from a URL
	}
	switch parts[0] {
	case "query":
		s.query(w, r, parts[1:])
	case "parameterizedSearch":
		s.find(w, r)
	case "recent":
		n, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		list := s.records.objects["Account"]
		say(w, http.StatusOK, list[:min(max(n, 1), len(list))])
	case "limits":
		left := record{"Max": s.opt.Limit, "Remaining": max(s.opt.Limit-s.records.used, 0)}
		say(w, http.StatusOK, record{"DailyApiRequests": left, "DailyBulkApiBatches": left, "DailyAsyncApexExecutions": left, "DataStorageMB": left, "FileStorageMB": left, "Other": left})
	case "sobjects":
		s.objects(w, r, body, parts[1:])
	default:
		salesforceRefusal(w, http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
	}
}

// query knows SELECT ... FROM OBJECT. Pages have 200 to 2,000 records, as
// Sforce-Query-Options says.
func (s *Salesforce) query(w http.ResponseWriter, r *http.Request, more []string) {
	size := 2000
	if text, ok := strings.CutPrefix(r.Header.Get("Sforce-Query-Options"), "batchSize="); ok {
		size, _ = strconv.Atoi(text) // what is no number is too small
	}
	if size < 200 || size > 2000 {
		salesforceRefusal(w, http.StatusBadRequest, "INVALID_QUERY_OPTION", "batchSize must be between 200 and 2000")
		return
	}
	kind, from := "", 0
	if len(more) > 0 {
		locator, at, ok := strings.Cut(more[0], "-")
		from, _ = strconv.Atoi(at) // the locator of this stand-in
		kind = strings.TrimPrefix(locator, "01g0")
		if !ok || s.records.objects[kind] == nil {
			salesforceRefusal(w, http.StatusBadRequest, "INVALID_QUERY_LOCATOR", "invalid query locator")
			return
		}
	} else {
		words := strings.Fields(r.URL.Query().Get("q"))
		at := slices.IndexFunc(words, func(word string) bool { return strings.EqualFold(word, "FROM") })
		if len(words) < 4 || !strings.EqualFold(words[0], "SELECT") || at < 2 || at == len(words)-1 {
			salesforceRefusal(w, http.StatusBadRequest, "MALFORMED_QUERY", "unexpected token: '"+r.URL.Query().Get("q")+"'")
			return
		}
		if kind = words[at+1]; s.records.objects[kind] == nil {
			salesforceRefusal(w, http.StatusBadRequest, "INVALID_TYPE", "sObject type '"+kind+"' is not supported.")
			return
		}
	}
	list := s.records.objects[kind]
	from = min(from, len(list))
	to := min(from+size, len(list))
	answer := record{"totalSize": len(list), "done": to == len(list), "records": list[from:to]}
	if to < len(list) {
		answer["nextRecordsUrl"] = fmt.Sprintf("/services/data/%s/query/01g0%s-%d", salesforceVersion, kind, to)
	}
	say(w, http.StatusOK, answer)
}

func (s *Salesforce) find(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if len(q.Get("q")) < 2 {
		salesforceRefusal(w, http.StatusBadRequest, "MALFORMED_SEARCH", "search term must be longer than one character: "+q.Get("q"))
		return
	}
	var found []record
	for kind, list := range s.records.objects {
		for _, o := range list {
			if (q.Get("sobject") == "" || q.Get("sobject") == kind) && strings.Contains(fmt.Sprint(o["Name"]), q.Get("q")) {
				found = append(found, narrowed(o, q.Get("fields")))
			}
		}
	}
	most, err := strconv.Atoi(q.Get("overallLimit"))
	if err != nil {
		most = 2000
	}
	say(w, http.StatusOK, record{"searchRecords": found[:min(most, len(found))]})
}

// narrowed gives of a record the fields that are asked for.
func narrowed(o record, names string) record {
	if names == "" {
		return o
	}
	out := record{"attributes": o["attributes"], "Id": o["Id"]}
	for name := range strings.SplitSeq(names, ",") {
		if v, ok := o[name]; ok {
			out[name] = v
		}
	}
	return out
}

func (s *Salesforce) objects(w http.ResponseWriter, r *http.Request, body []byte, parts []string) {
	if len(parts) == 0 {
		var list []record
		for _, kind := range []string{"Account", "Contact"} {
			list = append(list, record{"name": kind, "label": kind, "keyPrefix": "001", "custom": false, "queryable": true, "createable": true, "updateable": true, "urls": record{}})
		}
		say(w, http.StatusOK, record{"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list})
		return
	}
	kind := parts[0]
	if _, ok := s.records.objects[kind]; !ok {
		salesforceRefusal(w, http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	switch {
	case len(parts) == 1 && r.Method == http.MethodPost:
		s.create(w, r, body, kind)
	case len(parts) == 2 && parts[1] == "describe":
		say(w, http.StatusOK, record{"name": kind, "label": kind, "keyPrefix": "001", "queryable": true, "fields": []record{{"name": "Id", "label": "Id", "type": "id",
			"nillable": false, "externalId": false, "relationshipName": nil, "referenceTo": []string{}, "picklistValues": []record{}, "byteLength": 18}},
			"childRelationships": []record{{"relationshipName": "Contacts", "childSObject": "Contact", "field": "AccountId", "cascadeDelete": true}}})
	case len(parts) == 2 && parts[1] == "updated":
		s.updated(w, r, kind)
	case len(parts) == 2 || len(parts) == 3:
		field, value := "Id", parts[1]
		if len(parts) == 3 {
			field, value = parts[1], parts[2]
		}
		s.row(w, r, body, kind, field, value)
	default:
		salesforceRefusal(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "HTTP Method '"+r.Method+"' not allowed. Allowed are HEAD,GET,POST")
	}
}

func (s *Salesforce) updated(w http.ResponseWriter, r *http.Request, kind string) {
	start, err1 := time.Parse(time.RFC3339, r.URL.Query().Get("start"))
	end, err2 := time.Parse(time.RFC3339, r.URL.Query().Get("end"))
	if err1 != nil || err2 != nil || end.Before(start) || end.Sub(start) > 30*24*time.Hour {
		salesforceRefusal(w, http.StatusBadRequest, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
		return
	}
	ids := []string{}
	for _, o := range s.records.objects[kind] {
		ids = append(ids, o.text("Id"))
	}
	say(w, http.StatusOK, record{"ids": ids, "latestDateCovered": end.Format("2006-01-02T15:04:05.000+0000")})
}

func (s *Salesforce) create(w http.ResponseWriter, r *http.Request, body []byte, kind string) {
	form, ok := formFields(r, body)
	switch {
	case !ok:
		salesforceRefusal(w, http.StatusBadRequest, "JSON_PARSER_ERROR", "Unexpected character")
		return
	case form.text("Name") == "":
		say(w, http.StatusBadRequest, []record{{"message": "Required fields are missing: [Name]", "errorCode": "REQUIRED_FIELD_MISSING", "fields": []string{"Name"}}})
		return
	}
	id := fmt.Sprintf("001%012dAAA", len(s.records.objects[kind])+1)
	s.records.objects[kind] = append(s.records.objects[kind], salesforceRecord(kind, id, form))
	say(w, http.StatusCreated, record{"id": id, "success": true, "errors": []any{}})
}

// row answers for one record, by its id or by an external id.
func (s *Salesforce) row(w http.ResponseWriter, r *http.Request, body []byte, kind, field, value string) {
	list := s.records.objects[kind]
	at := slices.IndexFunc(list, func(o record) bool {
		return fmt.Sprint(o[field]) == value || field == "Id" && strings.TrimSuffix(o.text("Id"), "AAA") == value
	})
	form, ok := formFields(r, body)
	switch {
	case r.Method == http.MethodPatch && !ok:
		salesforceRefusal(w, http.StatusBadRequest, "JSON_PARSER_ERROR", "Unexpected character")
	case r.Method == http.MethodPatch && at < 0 && field != "Id":
		id := fmt.Sprintf("001%012dAAA", len(list)+1)
		s.records.objects[kind] = append(list, salesforceRecord(kind, id, form.with(record{field: value})))
		say(w, http.StatusCreated, record{"id": id, "success": true, "errors": []any{}, "created": true})
	case at < 0:
		salesforceRefusal(w, http.StatusNotFound, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: "+value)
	case r.Method == http.MethodGet:
		say(w, http.StatusOK, narrowed(list[at], r.URL.Query().Get("fields")))
	case r.Method == http.MethodPatch:
		list[at] = list[at].with(form)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		s.records.objects[kind] = slices.Delete(list, at, at+1)
		w.WriteHeader(http.StatusNoContent)
	default:
		salesforceRefusal(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "HTTP Method '"+r.Method+"' not allowed. Allowed are HEAD,GET,PATCH,DELETE")
	}
}
