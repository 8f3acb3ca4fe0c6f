CREATE VIEW public.order_totals AS
 SELECT l.order_id,
    string_agg(((l.quantity || ' x '::text) || p.name), ', '::text ORDER BY p.name) AS items,
    sum(((l.quantity)::numeric * l.price)) AS total
   FROM (public.order_lines l
     JOIN public.products p ON ((p.id = l.product_id)))
  GROUP BY l.order_id;
ALTER VIEW public.order_totals OWNER TO shop;
COMMENT ON VIEW public.order_totals IS 'what an order holds and costs';
GRANT SELECT ON TABLE public.order_totals TO "www-data";
