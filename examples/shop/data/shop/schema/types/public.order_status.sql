CREATE TYPE public.order_status AS ENUM (
    'new',
    'paid',
    'packed',
    'shipped',
    'returned'
);
ALTER TYPE public.order_status OWNER TO shop;
